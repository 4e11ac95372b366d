"""What an operator wants of the daemon as a whole: to drain, to be reloaded."""

from __future__ import annotations

import datetime
import os

from aiohttp import web

from chromepool.errors import Forbidden
from chromepool.gateway.http.identity import Identify
from chromepool.gateway.http.requests import read_json
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.session_requests import read_seconds
from chromepool.gateway.http.views import json_response
from chromepool.gateway.sessions.drain import Drainer
from chromepool.gateway.sessions.session import utc_now
from chromepool.schema.admin import MOST_WAIT_S, DrainRequest, DrainView, ReloadView


def drain_view(drainer: Drainer, now: float) -> DrainView:
    """How far it is; ``now`` in monotonic seconds."""
    drain, left, daemon = drainer.now, len(drainer.left()), os.getppid()  # the supervisor
    if drain is None:
        return DrainView(draining=False, sessions=left, pid=daemon)
    ends_at = None
    if drain.deadline is not None:
        ends_at = utc_now() + datetime.timedelta(seconds=drain.deadline - now)
    return DrainView(True, left, daemon, ends_at=ends_at, exit=drain.leave)


class Daemon:
    """The handlers."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes."""
        app.router.add_get("/v1/drain", self.draining)
        app.router.add_post("/v1/drain", self.drain)
        app.router.add_delete("/v1/drain", self.undrain)
        app.router.add_post("/v1/reload", self.reload)

    def _check(self, request: web.Request) -> None:
        if not self._identify(request).admin:
            raise Forbidden(
                "Only administrators may do that.",
                remedy="Use the Unix socket, as root, as the daemon's user or in its group.",
            )

    def _view(self, request: web.Request, status: int = 200) -> web.Response:
        view = drain_view(self._services.drainer, self._pool.runtime.clock())
        return json_response(view, status)

    async def draining(self, request: web.Request) -> web.Response:
        """``GET /v1/drain``: how far it is; with ``?wait=`` when it is over, or after so long."""
        self._identify(request)
        wait_s = read_seconds(request.query.get("wait"), "wait", MOST_WAIT_S)
        if wait_s:
            await self._services.drainer.settled(wait_s)
        return self._view(request)

    async def drain(self, request: web.Request) -> web.Response:
        """``POST /v1/drain``: no new sessions from here on."""
        self._check(request)
        wanted = read_json(await request.read() or b"{}", DrainRequest)
        self._services.drainer.begin(wanted.deadline_s, leave=wanted.exit)
        return self._view(request, 202)

    async def undrain(self, request: web.Request) -> web.Response:
        """``DELETE /v1/drain``: sessions are made again."""
        self._check(request)
        self._services.drainer.cancel()
        return web.Response(status=204)

    async def reload(self, request: web.Request) -> web.Response:
        """``POST /v1/reload``: the settings are read again, and a new gateway takes over."""
        self._check(request)
        await self._pool.runtime.supervisor.reload()
        return json_response(ReloadView(self._services.welcome.restarts), 202)
