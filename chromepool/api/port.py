"""A client's WebSocket as a port of the mux."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import WSCloseCode, WSMsgType, web

from chromepool.browser.browser import Browser
from chromepool.pool.manager import Manager
from chromepool.pool.session import Session

log = logging.getLogger("chromepool.api")

_HIGH_WATER_BYTES = 4 << 20
"""From here on a client reads too slowly; Chrome waits for it if nobody else is attached."""
_CATCH_UP_S = 0.02
_LINGER_S = 5.0
"""How long a client has to read the close frame that says why."""
_REASON_BYTES = 120
"""A close frame has room for 123 bytes of reason (RFC 6455, 5.5)."""


def _frame_header(length: int) -> bytes:
    """Head of an unmasked, unfragmented text frame (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


class WebSocketPort:
    """One client. Implements ``browser.Client``.

    Messages are framed and written here rather than by aiohttp's coroutine: from Chrome's pipe to
    the socket in one step, without a task to be woken. aiohttp still reads, and does the control
    frames.
    """

    def __init__(self, manager: Manager, session: Session, browser: Browser) -> None:
        self._manager, self._session, self._browser = manager, session, browser
        self._limit = manager.settings.client_buffer_bytes
        self._socket: web.WebSocketResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._released = asyncio.Event()
        self._released.set()
        self._full = False
        self._end: tuple[int, str] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes waiting for the client to read them."""
        transport = self._transport
        return 0 if transport is None else transport.get_write_buffer_size()

    # -- what the mux calls --

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """Sends one message; past its buffer's bound the client is ended instead."""
        transport = self._transport
        if transport is None or self._end is not None or transport.is_closing():
            return
        header = _frame_header(len(head) + len(tail))
        if len(head) < 65536:
            transport.write(b"".join((header, head, tail)))
        else:
            transport.writelines((header, head, tail))
        waiting = transport.get_write_buffer_size()
        if waiting > _HIGH_WATER_BYTES:
            self._on_full(waiting)

    def detached(self) -> None:
        """The page this client was attached to is gone."""
        self.end(WSCloseCode.OK, "the target was closed")

    def asks_to_close(self) -> None:
        """It has sent ``Browser.close``."""
        self._browser.asked_to_close = True
        self._manager.end_by_client(self._session)

    # -- flow --

    def hold(self, held: bool) -> None:
        """Stops taking its messages while Chrome is behind; TCP makes the client wait."""
        if held:
            self._released.clear()
        else:
            self._released.set()

    def _on_full(self, waiting: int) -> None:
        if waiting > self._limit:
            self.end(WSCloseCode.POLICY_VIOLATION, f"too slow: {waiting} bytes unread")
        elif not self._full:
            self._full = True
            self._browser.throttle(self, full=True)
            self._check_later()

    def _check_later(self) -> None:
        asyncio.get_running_loop().call_later(_CATCH_UP_S, self._check)

    def _check(self) -> None:
        if self.buffered_bytes > _HIGH_WATER_BYTES // 4 and self._end is None:
            self._browser.throttle(self, full=True)
            self._check_later()
        else:
            self._full = False
            self._browser.throttle(self, full=False)

    # -- life --

    async def serve(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        """Passes the client's messages on until either side ends."""
        await socket.prepare(request)
        if request.transport is None:  # it hung up during the handshake
            return
        self._socket, self._transport = socket, request.transport
        if self._end is not None:
            self._start_closing()
        try:
            await self._forward_all(socket)
        finally:
            self._browser.detach(self)
            if self._closing is not None:
                await self._closing

    async def _forward_all(self, socket: web.WebSocketResponse) -> None:
        forward, session = self._browser.forward, self._session
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                if message.type is WSMsgType.BINARY:
                    self.end(WSCloseCode.UNSUPPORTED_DATA, "CDP messages are text")
                return  # else a protocol error, which aiohttp has answered with its close code
            if not self._released.is_set():
                await self._released.wait()
            if self._end is None:
                session.touch()
                forward(self, message.data)

    def end(self, code: int, reason: str) -> None:
        """Closes the WebSocket with a code and a reason; the first of them stays."""
        if self._end is None:
            self._end = (code, reason)
            self._released.set()
            if self._socket is not None:
                self._start_closing()

    def _start_closing(self) -> None:
        self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        assert self._socket is not None
        assert self._transport is not None
        assert self._end is not None
        code, reason = self._end
        try:
            async with asyncio.timeout(_LINGER_S):
                message = reason.encode()[:_REASON_BYTES]
                await self._socket.close(code=code, message=message)
        except (TimeoutError, ConnectionError) as error:
            log.debug("a client did not take its close frame: %r", error)
        finally:
            self._transport.abort()
