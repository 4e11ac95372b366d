"""A client's WebSocket as a port of the mux."""

from __future__ import annotations

import asyncio
import collections
import fcntl
import sys
import termios
from collections.abc import Callable

from aiohttp import web

from chromepool.config import Settings
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.http import frames
from chromepool.gateway.http.frames import FrameError, FrameReader, Opcode
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason

_TEXT = int(Opcode.TEXT)
_HIGH_WATER_BYTES = 4 << 20
"""From here on a client reads too slowly; Chrome waits for it if nobody else is attached."""
_LOW_WATER_BYTES = 1 << 20
_LINGER_S = 5.0
"""How long a client has to read the close frame that says why, and to answer it."""
_FAULTS = {Reason.CRASHED, Reason.OUT_OF_MEMORY, Reason.UNHEALTHY, Reason.START_FAILED}
_GOING_AWAY, _INTERNAL_ERROR, _SERVICE_RESTART = 1001, 1011, 1012
"""RFC 6455, 7.4.1, and IANA's registry: ended on purpose, by a fault, to be connected again."""
_MISSED = 2
"""Pings without an answer that make a peer dead."""
_WRITELINES_BYTES = 65536
"""Above this a message is not copied to be joined with its frame's head."""


def close_code(reason: Reason) -> int:
    """The WebSocket close code for the end of a session: on purpose, or by a fault."""
    return _INTERNAL_ERROR if reason in _FAULTS else _GOING_AWAY


class ClientConnection(asyncio.Protocol):
    """One client. Implements ``browser.Client``.

    It takes the transport over from aiohttp once the handshake is done: from Chrome's pipe to the
    socket, and back, in one step, without a task to be woken for each message.
    """

    def __init__(
        self,
        session: Session,
        browser: Browser,
        settings: Settings,
        dropped: collections.Counter[str],
        on_close_request: Callable[[Session], None],
    ) -> None:
        """``dropped`` counts connections that are closed as ``slow`` or ``dead``;
        ``on_close_request`` is called when the client has sent ``Browser.close``."""
        self._session = session
        self._browser = browser
        self._dropped = dropped
        self._on_close_request = on_close_request
        self._ping_interval_s = settings.ping_interval_s
        self._limit = settings.client_buffer_bytes
        self._reader = FrameReader(settings.max_message_bytes)
        self._transport: asyncio.Transport | None = None
        self._before: asyncio.BaseProtocol | None = None
        self._lost = asyncio.Event()
        self._unsent: list[bytes | memoryview] = []
        self._end: tuple[int, str] | None = None
        self._missed = self._stuck = 0
        """Pings since it was last heard of, and since it last took some of what is for it."""
        self._written = self._taken = 0
        self._beat: asyncio.TimerHandle | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes waiting for the client to read them."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # -- what the mux calls --

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """Takes one message, to be sent by :meth:`flush`."""
        if self._transport is None or self._end is not None:
            return
        if not self._unsent:
            self._browser.flush_later(self)
        self._unsent += (frames.text_head(len(head) + len(tail)), head, tail)

    def flush(self) -> None:
        """Sends what was delivered, in one write."""
        unsent, self._unsent = self._unsent, []
        transport = self._transport
        if not unsent or transport is None or self._end is not None:
            return
        # What is judged is the client's backlog, not the message: one of 100 MB is no fault of its.
        if transport.get_write_buffer_size() > self._limit:
            self._dropped["slow"] += 1
            self.end(frames.POLICY, f"too slow: {self.buffered_bytes} bytes unread")
        elif len(unsent) == 3 and len(unsent[1]) >= _WRITELINES_BYTES:
            self._written += sum(map(len, unsent))
            transport.writelines(unsent)
        else:
            data = b"".join(unsent)
            self._written += len(data)
            transport.write(data)

    def detached(self) -> None:
        """The page this client was attached to is gone."""
        self.end(frames.OK, "the target was closed")

    def asks_to_close(self) -> None:
        """It has sent ``Browser.close``."""
        self._browser.asked_to_close = True
        self._on_close_request(self._session)

    # -- flow --

    def hold(self, held: bool) -> None:
        """Stops taking its messages while Chrome is behind; TCP makes the client wait."""
        if self._transport is None or self._transport.is_closing():
            return
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The transport's: the client reads too slowly."""
        self._browser.throttle(self, full=True)

    def resume_writing(self) -> None:
        """The transport's: the client has caught up."""
        self._browser.throttle(self, full=False)

    # -- life --

    async def serve(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        """Does the handshake, then passes messages on until either side ends."""
        await socket.prepare(request)
        transport = request.transport
        if transport is None:  # it hung up during the handshake
            return
        self._before = request.protocol
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        self._ping_later()
        if self._end is not None:
            self._say_end()
        elif self._browser.pressed:
            self.hold(True)
        await self._lost.wait()

    def _ping_later(self) -> None:
        interval_s = self._ping_interval_s
        if interval_s:
            loop = asyncio.get_running_loop()
            self._beat = loop.call_later(interval_s, self._ping)

    def _ping(self) -> None:
        """A client that is silent for two pings is dead: behind a cable that was pulled, a
        firewall that forgot it. One that only reads slowly has not got them yet."""
        if self._transport is None or self._transport.is_closing() or self._end is not None:
            return
        unread = self._unread()
        if self._missed >= _MISSED and (not unread or self._stuck >= _MISSED):
            self._dropped["dead"] += 1
            self.end(frames.GOING_AWAY, "no answer to pings")
            self._transport.abort()
            return
        # Of one that is held back nobody reads the pongs.
        self._missed = self._missed + 1 if self._transport.is_reading() else 0
        if self.buffered_bytes < _HIGH_WATER_BYTES:  # they must not pile up either
            self._say(frames.control(Opcode.PING, b""))
        self._ping_later()

    def _unread(self) -> int:
        """Bytes that the client's machine has not taken yet; notes whether it took any lately."""
        unread = self.buffered_bytes + self._in_kernel()
        taken = self._written - unread
        self._stuck = self._stuck + 1 if unread and taken == self._taken else 0
        self._taken = taken
        return unread

    def _in_kernel(self) -> int:
        """Bytes that are not acknowledged yet (SIOCOUTQ, tcp(7)). Megabytes may wait there, of
        which a slow client takes some long before there is room for more of ours."""
        assert self._transport is not None
        size = bytearray(4)
        try:
            fd = self._transport.get_extra_info("socket").fileno()
            fcntl.ioctl(fd, termios.TIOCOUTQ, size)
        except OSError:  # not for this kind of socket
            return 0
        return int.from_bytes(size, sys.byteorder)

    def _say(self, frame: bytes) -> None:
        assert self._transport is not None
        self._written += len(frame)
        self._transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport's: nothing more comes or goes. aiohttp ends its handler by it."""
        assert self._before is not None
        if self._beat is not None:
            self._beat.cancel()
        try:
            self._browser.detach(self)
        finally:
            self._lost.set()
            self._before.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The transport's: frames of the client's."""
        if self._transport is None or self._transport.is_closing():
            return
        self._missed = 0
        try:
            messages = self._reader.feed(data)
        except FrameError as error:
            self.end(error.code, error.reason)
            return
        batch: list[bytes] = []
        for opcode, payload in messages:
            if opcode == _TEXT:
                if not frames.is_text(payload):
                    self.end(frames.NOT_UTF8, "text frames are UTF-8")
                    return
                batch.append(payload)
            else:
                self._on_other(opcode, payload)
        if batch and self._end is None:
            self._session.touch()
            self._browser.forward(self, batch)

    def _on_other(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        if opcode == Opcode.PING:
            # Not to one that does not read: its pongs would pile up without bound.
            if self._end is None and self.buffered_bytes < _HIGH_WATER_BYTES:
                self._say(frames.control(Opcode.PONG, payload))
        elif opcode == Opcode.BINARY:
            self.end(frames.UNSUPPORTED, "CDP messages are text")
        elif opcode == Opcode.CLOSE:
            self._on_close(payload)

    def _on_close(self, payload: bytes) -> None:
        assert self._transport is not None
        if self._end is None:
            try:
                code = frames.parse_close(payload)
            except FrameError as error:
                self.end(error.code, error.reason)
                return
            self._end = (code, "")
            self._transport.write(frames.control(Opcode.CLOSE, payload[:2]))
        self._transport.close()
        self._abort_later()

    def session_ended(self, reason: Reason, detail: str) -> None:
        """Closes the connection: the session has begun to end."""
        self.end(close_code(reason), f"session ended: {reason} ({detail})")

    def gateway_replaced(self) -> None:
        """Closes the connection: the client may connect again, to the next gateway."""
        self.end(_SERVICE_RESTART, "the gateway is being replaced; connect again")

    def end(self, code: int, reason: str) -> None:
        """Closes the WebSocket with a code and a reason; the first of them stays."""
        if self._end is None:
            self.flush()
        if self._end is None:
            self._end = (code, reason)
            if self._transport is not None:
                self._say_end()

    def _say_end(self) -> None:
        """The close frame, last of all that is sent; a client that does not answer it is cut."""
        assert self._transport is not None
        assert self._end is not None
        self._browser.detach(self)
        if self._transport.is_closing():
            return
        self._transport.write(frames.close(*self._end))
        self._transport.resume_reading()
        self._abort_later()

    def _abort_later(self) -> None:
        assert self._transport is not None
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)
