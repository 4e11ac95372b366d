"""Server of both listeners, from the first request to the last."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from chromepool.gateway.http.problems import Handler

_LINE_BYTES = 32768
"""Longest request line and header: a connect-and-go URL has a whole ``launch`` in it."""
_ARRIVING_S = 0.1
"""Seconds for the request of a connection that was accepted just before the listeners were left:
a client would rather wait than get "connection reset"."""


class Server:
    """Serves each application on a listening socket that also stays open in the supervisor."""

    def __init__(
        self, apps: Sequence[tuple[web.Application, socket.socket]], handlers_s: float
    ) -> None:
        """``handlers_s`` is the time that :meth:`close` waits for requests in progress."""
        self._apps = apps
        self._handlers_s = handlers_s
        self._runners: list[web.AppRunner] = []
        self._requests = 0
        self._idle = asyncio.Event()
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
        """Start to serve."""
        for app, sock in self._apps:
            # A caller that disconnects while its session starts cancels the start, so that no slot
            # is lost.
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
        """Accept no more connections: new clients wait for the next gateway."""
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        await asyncio.sleep(_ARRIVING_S)

    async def settle(self, timeout_s: float) -> None:
        """Wait until no request is in progress, WebSockets included, for at most ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    async def close(self) -> None:
        """End the requests in progress, and close every connection."""
        for runner in self._runners:
            await runner.cleanup()
