"""The control API on the Unix socket."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from chromepool import __version__
from chromepool.api.problems import problems
from chromepool.api.views import ask_limits, json_response, read_body, show
from chromepool.model import Reason, State
from chromepool.pool.manager import Manager
from chromepool.pool.session import Session

_UCRED = struct.Struct("3i")


def peer_uid(request: web.Request) -> int | None:
    """uid of the process at the other end of the Unix socket (SO_PEERCRED, unix(7))."""
    sock: socket.socket | None = (
        request.transport.get_extra_info("socket") if request.transport else None
    )
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    uid: int
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return uid


class Control:
    """The handlers of ``/v1``."""

    def __init__(self, manager: Manager, authority: str) -> None:
        self._manager, self._authority = manager, authority

    def app(self) -> web.Application:
        """The application to serve."""
        size = self._manager.settings.max_body_bytes
        app = web.Application(middlewares=[problems], client_max_size=size)
        app.router.add_post("/v1/sessions", self.create)
        app.router.add_get("/v1/sessions", self.list)
        app.router.add_get("/v1/sessions/{id}", self.show)
        app.router.add_delete("/v1/sessions/{id}", self.delete)
        app.router.add_get("/v1/status", self.status)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        return app

    async def _view(self, session: Session) -> object:
        usage = await self._manager.usage(session)
        return show(session, usage, self._manager.host, self._authority)

    async def create(self, request: web.Request) -> web.Response:
        """``POST /v1/sessions``: 201 and the session, ready to be driven."""
        body = read_body(await request.read())
        limits = ask_limits(body.limits, self._manager.settings)
        session = await self._manager.create(f"uid:{peer_uid(request)}", body.labels, limits)
        try:
            view = await self._view(session)
        except asyncio.CancelledError:  # the caller hung up and never learns of its session
            self._manager.abandon(session)
            raise
        response = json_response(view, status=201)
        response.headers["Location"] = f"/v1/sessions/{session.id}"
        return response

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/sessions``: those that run; with ``?all=1`` the ended ones too."""
        every = request.query.get("all") in ("1", "true")
        sessions = [s for s in self._manager.all() if every or s.state is not State.CLOSED]
        views = await asyncio.gather(*(self._view(session) for session in sessions))
        return json_response({"sessions": views})

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/sessions/{id}``, for a while also after its end."""
        return json_response(await self._view(self._manager.get(request.match_info["id"])))

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE /v1/sessions/{id}``: 204 when nothing of it is left. Again: 204 again."""
        session = self._manager.get(request.match_info["id"])
        if session.state is not State.CLOSED:
            await self._manager.end(session, Reason.DELETED, "it was deleted")
        return web.Response(status=204)

    async def status(self, _: web.Request) -> web.Response:
        """``GET /v1/status``: the daemon and what it found on this machine."""
        manager = self._manager
        host = manager.host
        return json_response(
            {
                "version": __version__,
                "sessions": {"now": manager.occupied, "max": manager.settings.max_sessions},
                "limits": {"cgroup": host.cgroup, "enforced": list(host.enforced)},
                "host": host,
                "stopping": manager.stopping,
                "gateway": {"tasks": len(asyncio.all_tasks())},
            }
        )

    async def healthz(self, _: web.Request) -> web.Response:
        """``GET /healthz``: the gateway answers."""
        return json_response({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """``GET /readyz``: 200 when one more session would be taken, else the refusal."""
        self._manager.check_room()
        return json_response({"status": "ready"})
