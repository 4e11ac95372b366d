"""Handlers with which an operator drains and reloads the daemon."""

from __future__ import annotations

import datetime
import os

from aiohttp import web

from chromepool.errors import Forbidden
from chromepool.gateway.http.identity import Identify
from chromepool.gateway.http.requests import read_json, read_query, seconds
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.views import json_response
from chromepool.gateway.sessions.drain import Drainer
from chromepool.gateway.sessions.session import utc_now
from chromepool.schema.admin import (
    MOST_WAIT_S,
    DrainParams,
    DrainRequest,
    DrainView,
    ReloadView,
)


def drain_view(drainer: Drainer, now: float) -> DrainView:
    """Show the progress of a drain; ``now`` is in monotonic seconds."""
    drain = drainer.now
    left = len(drainer.left())
    daemon = os.getppid()  # the supervisor
    if drain is None:
        return DrainView(draining=False, sessions=left, pid=daemon)
    ends_at = None
    if drain.deadline is not None:
        ends_at = utc_now() + datetime.timedelta(seconds=drain.deadline - now)
    return DrainView(True, left, daemon, ends_at=ends_at, exit=drain.leave)


class AdminHandlers:
    """Handlers of ``/v1/drain`` and ``/v1/reload``."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def _check(self, request: web.Request) -> None:
        if not self._identify(request).admin:
            raise Forbidden(
                "Only administrators may drain or reload the daemon.",
                remedy="Use the Unix socket as root, as the daemon's user or as a member of its "
                "group.",
            )

    def _view(self, request: web.Request, status: int = 200) -> web.Response:
        view = drain_view(self._services.drainer, self._pool.runtime.clock())
        return json_response(view, status)

    async def draining(self, request: web.Request) -> web.Response:
        """Show the progress of a drain, at once or when it is over."""
        self._identify(request)
        wait_s = seconds(read_query(request.query, DrainParams).wait, MOST_WAIT_S)
        if wait_s:
            await self._services.drainer.settled(wait_s)
        return self._view(request)

    async def drain(self, request: web.Request) -> web.Response:
        """Refuse new sessions from now on."""
        self._check(request)
        wanted = read_json(await request.read(), DrainRequest)
        self._services.drainer.begin(wanted.deadline_s, leave=wanted.exit)
        return self._view(request, 202)

    async def undrain(self, request: web.Request) -> web.Response:
        """Accept new sessions again."""
        self._check(request)
        self._services.drainer.cancel()
        return web.Response(status=204)

    async def reload(self, request: web.Request) -> web.Response:
        """Have the supervisor read the settings and start a new gateway."""
        self._check(request)
        await self._pool.runtime.supervisor.reload()
        return json_response(ReloadView(self._services.welcome.restarts), 202)
