"""The listeners being served: from the first request to the last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from chromepool.gateway.http.problems import Handler

_LINE_BYTES = 32768
"""Longest request line and header: connect-and-go takes a whole launch in its URL."""
_ARRIVING_S = 0.1
"""Time for the request of a connection that was accepted just before the listeners were left: to
be told "connection reset" is worse than to wait."""


class Server:
    """Serves each application on a socket that is listening already, and stays open elsewhere."""

    def __init__(
        self, apps: Sequence[tuple[web.Application, socket.socket]], handlers_s: float
    ) -> None:
        """``handlers_s``: how long :meth:`close` waits for requests that are under way."""
        self._apps, self._handlers_s = apps, handlers_s
        self._runners: list[web.AppRunner] = []
        self._requests, self._idle = 0, asyncio.Event()
        self._idle.set()
        for app, _ in apps:
            app.middlewares.insert(0, self._count())

    def _count(self) -> Middleware:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._requests += 1
            self._idle.clear()
            try:
                return await handler(request)
            finally:
                self._requests -= 1
                if not self._requests:
                    self._idle.set()

        return count

    async def start(self) -> None:
        """Serves from here on."""
        for app, sock in self._apps:
            # A caller that hangs up while its session starts cancels the start: no place is lost.
            runner = web.AppRunner(
                app,
                access_log=None,
                shutdown_timeout=self._handlers_s,
                handler_cancellation=True,
                max_line_size=_LINE_BYTES,
                max_field_size=_LINE_BYTES,
            )
            await runner.setup()
            await web.SockSite(runner, sock).start()
            self._runners.append(runner)

    async def leave_listeners(self) -> None:
        """Accepts nobody else: who connects waits for whoever serves next."""
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        await asyncio.sleep(_ARRIVING_S)

    async def settle(self, timeout_s: float) -> None:
        """Waits until no request is under way, WebSockets included, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    async def close(self) -> None:
        """Ends what is still under way, and every connection."""
        for runner in self._runners:
            await runner.cleanup()
