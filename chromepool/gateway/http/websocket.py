"""A client's WebSocket, attached to a session's Chrome."""

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
from chromepool.gateway.http.close_codes import CloseCode, close_code
from chromepool.gateway.http.frames import FrameError, FrameReader, Opcode
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason

_TEXT = int(Opcode.TEXT)
_HIGH_WATER_BYTES = 4 << 20
"""Unread bytes from which on a client is too slow; Chrome waits for it if it is the only one."""
_LOW_WATER_BYTES = 1 << 20
_LINGER_S = 5.0
"""Time for a client to read the close frame with the reason, and to answer it."""
_MAX_MISSED = 2
"""Number of pings without an answer after which a client counts as dead."""
_WRITELINES_BYTES = 65536
"""Length from which on a message is not copied to join it with its frame's head."""


class ClientConnection(asyncio.Protocol):
    """The connection of one client. Implements ``browser.Client``.

    After the handshake it takes the transport over from aiohttp. Messages then pass between pipe
    and socket in one step, and no task has to be woken for them.
    """

    def __init__(
        self,
        session: Session,
        browser: Browser,
        settings: Settings,
        dropped: collections.Counter[str],
        on_close_request: Callable[[Session], None],
    ) -> None:
        """``dropped`` counts the ``slow`` and ``dead`` clients that are disconnected;
        ``on_close_request`` is called when the client sends ``Browser.close``."""
        self._session = session
        self._browser = browser
        self._dropped = dropped
        self._on_close_request = on_close_request
        self._buffer_bytes = settings.client_buffer_bytes
        self._ping_interval_s = settings.ping_interval_s
        self._reader = FrameReader(settings.max_message_bytes)
        self._transport: asyncio.Transport | None = None
        self._before: asyncio.BaseProtocol | None = None
        self._lost = asyncio.Event()
        self._unsent: list[bytes | memoryview] = []
        self._end: tuple[int, str] | None = None
        self._missed = 0
        """Number of pings since the client last sent something."""
        self._stuck = 0
        """Number of pings since the client last read something while something was unread."""
        self._written = 0
        self._taken = 0
        self._ping_timer: asyncio.TimerHandle | None = None

    @property
    def _open(self) -> asyncio.Transport | None:
        """The transport while it can be used."""
        transport = self._transport
        return None if transport is None or transport.is_closing() else transport

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in the gateway for the client to read them."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """Accept one message; :meth:`flush` sends it."""
        if self._transport is None or self._end is not None:
            return
        if not self._unsent:
            self._browser.flush_later(self)
        self._unsent += (frames.text_head(len(head) + len(tail)), head, tail)

    def flush(self) -> None:
        """Send the delivered messages in one write."""
        unsent = self._unsent
        self._unsent = []
        transport = self._transport
        if not unsent or transport is None or self._end is not None:
            return
        # The backlog decides, without these messages: the client cannot help one of 100 MB.
        if transport.get_write_buffer_size() > self._buffer_bytes:
            self._dropped["slow"] += 1
            self.end(
                CloseCode.POLICY, f"the client is too slow: {self.buffered_bytes} bytes unread"
            )
        elif len(unsent) == 3 and len(unsent[1]) >= _WRITELINES_BYTES:
            self._written += sum(map(len, unsent))
            transport.writelines(unsent)
        else:
            self._send(b"".join(unsent))

    def detached(self) -> None:
        """Close the connection, because its page is gone."""
        self.end(CloseCode.OK, "the target was closed")

    def asks_to_close(self) -> None:
        """End the session, because the client sent ``Browser.close``."""
        self._browser.asked_to_close = True
        self._on_close_request(self._session)

    def hold(self, held: bool) -> None:
        """Stop reading from the client while Chrome is behind; TCP then makes the client wait."""
        transport = self._open
        if transport is not None and held:
            transport.pause_reading()
        elif transport is not None:
            transport.resume_reading()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly. Called by the transport."""
        self._browser.throttle(self, full=True)

    def resume_writing(self) -> None:
        """Note that the client has caught up. Called by the transport."""
        self._browser.throttle(self, full=False)

    async def serve(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        """Do the handshake, then forward messages until either side closes."""
        await socket.prepare(request)
        transport = request.transport
        if transport is None:  # the client hung up during the handshake
            return
        self._before = request.protocol
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        self._ping_later()
        if self._end is not None:
            self._send_close()
        elif self._browser.pressed:
            self.hold(True)
        await self._lost.wait()

    def _ping_later(self) -> None:
        if self._ping_interval_s:
            loop = asyncio.get_running_loop()
            self._ping_timer = loop.call_later(self._ping_interval_s, self._ping)

    def _ping(self) -> None:
        """Ping the client, or disconnect it if it did not answer two pings: a cable was pulled, or
        a firewall dropped the connection. A client that only reads slowly has not got them yet."""
        transport = self._open
        if transport is None or self._end is not None:
            return
        unread = self._unread()
        if self._missed >= _MAX_MISSED and (not unread or self._stuck >= _MAX_MISSED):
            self._dropped["dead"] += 1
            self.end(CloseCode.GOING_AWAY, "no answer to pings")
            transport.abort()
            return
        # While reading is paused, pongs are not read either.
        self._missed = self._missed + 1 if transport.is_reading() else 0
        if self.buffered_bytes < _HIGH_WATER_BYTES:  # pings must not pile up
            self._send(frames.control(Opcode.PING, b""))
        self._ping_later()

    def _unread(self) -> int:
        """Return the bytes that the client's machine has not received; update ``_stuck``."""
        unread = self.buffered_bytes + self._in_kernel()
        taken = self._written - unread
        self._stuck = self._stuck + 1 if unread and taken == self._taken else 0
        self._taken = taken
        return unread

    def _in_kernel(self) -> int:
        """Return the bytes in the kernel that are not acknowledged yet (SIOCOUTQ, tcp(7)): a slow
        client may read from megabytes of them long before the kernel takes more."""
        assert self._transport is not None
        size = bytearray(4)
        try:
            fd = self._transport.get_extra_info("socket").fileno()
            fcntl.ioctl(fd, termios.TIOCOUTQ, size)
        except OSError:  # this kind of socket does not support it
            return 0
        return int.from_bytes(size, sys.byteorder)

    def _send(self, frame: bytes) -> None:
        assert self._transport is not None
        self._written += len(frame)
        self._transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Detach from Chrome, and let aiohttp end its handler. Called by the transport."""
        assert self._before is not None
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        try:
            self._browser.detach(self)
        finally:
            self._lost.set()
            self._before.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client. Called by the transport."""
        if self._open is None:
            return
        self._missed = 0
        batch: list[bytes] = []
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode != _TEXT:
                    self._on_other(opcode, payload)
                elif frames.is_text(payload):
                    batch.append(payload)
                else:
                    raise FrameError(CloseCode.NOT_UTF8, "text messages must be UTF-8")
        except FrameError as error:
            self.end(error.code, error.reason)
        if batch and self._end is None:
            self._session.touch()
            self._browser.forward(self, batch)

    def _on_other(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.PING:
            # The pongs of a client that does not read would pile up without bound.
            if self._end is None and self.buffered_bytes < _HIGH_WATER_BYTES:
                self._send(frames.control(Opcode.PONG, payload))
        elif opcode == Opcode.BINARY:
            raise FrameError(CloseCode.UNSUPPORTED, "CDP messages must be text")
        elif opcode == Opcode.CLOSE:
            self._on_close(payload)

    def _on_close(self, payload: bytes) -> None:
        assert self._transport is not None
        if self._end is None:
            self._end = (frames.parse_close(payload), "")
            self._send(frames.control(Opcode.CLOSE, payload[:2]))
        self._transport.close()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def session_ended(self, reason: Reason, detail: str) -> None:
        """Close the connection, because the session has begun to end."""
        self.end(close_code(reason), f"session ended: {reason} ({detail})")

    def gateway_replaced(self) -> None:
        """Close the connection; the client may connect again, to the next gateway."""
        self.end(CloseCode.SERVICE_RESTART, "the gateway is being replaced; connect again")

    def end(self, code: int, reason: str) -> None:
        """Close the WebSocket with a code and a reason. Later calls change neither."""
        if self._end is None:
            self.flush()
        if self._end is None:
            self._end = (code, reason)
            if self._transport is not None:
                self._send_close()

    def _send_close(self) -> None:
        """Send the close frame, after which nothing is sent, and wait for the answer to it."""
        self._browser.detach(self)
        transport = self._open
        if transport is not None and self._end is not None:
            self._send(frames.close(*self._end))
            transport.resume_reading()
            asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)
