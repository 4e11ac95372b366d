"""The control API: on the Unix socket, and where the operator wants it on TCP."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from chromepool import __version__
from chromepool.errors import InvalidRequest
from chromepool.gateway.capacity import memory
from chromepool.gateway.http import openapi, session_requests
from chromepool.gateway.http.admin import Daemon, drain_view
from chromepool.gateway.http.artifacts import Kept
from chromepool.gateway.http.events import Stream
from chromepool.gateway.http.history import History, status_of
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.metrics import serve_metrics
from chromepool.gateway.http.problems import NUMBER, problems
from chromepool.gateway.http.rendering import Page
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.views import json_response, show
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.sessions.usage import measure
from chromepool.model import Reason, State, Usage
from chromepool.schema import session

_ALL = {"1": True, "true": True, "0": False, "false": False}


class Control:
    """The handlers of ``/v1``."""

    def __init__(self, services: Services, identify: Identify, authority: str = "") -> None:
        """``authority`` is the host and port of the DevTools endpoint; without one it is that of
        each request."""
        self._services = services
        self._pool = services.pool
        self._identify, self._authority = identify, authority

    def app(self) -> web.Application:
        """The application to serve on a socket of its own."""
        size = self._pool.runtime.settings.max_body_bytes
        app = web.Application(middlewares=[problems], client_max_size=size)
        self.add_routes(app)
        return app

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes to an application that serves others, too."""
        app.router.add_post("/v1/sessions", self.create)
        app.router.add_get("/v1/sessions", self.list)
        app.router.add_get("/v1/sessions/{id}", self.show)
        app.router.add_delete("/v1/sessions/{id}", self.delete)
        app.router.add_post("/v1/sessions/{id}/keepalive", self.keepalive)
        for part in (Kept, Page, Stream, History, Daemon):
            part(self._services, self._identify).add_routes(app)
        app.router.add_get("/v1/queue", self.queue)
        app.router.add_get("/v1/status", self.status)
        app.router.add_get("/openapi.json", self.openapi)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)

    async def _view(self, request: web.Request, session: Session) -> session.SessionView:
        return self._show(request, session, await measure(session, self._pool.runtime.supervisor))

    def _show(self, request: web.Request, session: Session, usage: Usage) -> session.SessionView:
        return show(session, usage, self._pool.runtime.host, self._authority or request.host)

    def _find(self, request: web.Request) -> Session:
        identity = self._identify(request)
        session = identity.find(self._pool.registry, request.match_info["id"])
        request[NUMBER] = session.key
        return session

    async def create(self, request: web.Request) -> web.Response:
        """``POST /v1/sessions``: 201 and the session, ready to be driven."""
        began = time.perf_counter()
        identity = self._identify(request)
        settings = self._pool.runtime.settings
        body = session_requests.read_body(await request.read())
        spec = session_requests.make_spec(body, identity.owner, settings)
        preferred = session_requests.preferred_wait(request.headers.get("Prefer"))
        asked = request.query.get("wait", preferred)
        wait_s = session_requests.read_seconds(asked, "wait", settings.queue_wait_s)
        session = await self._pool.creation.create(spec, wait_s)
        try:
            # What a Chrome that waited uses was asked a moment ago, when it was woken.
            usage = (
                session.usage
                if session.warm
                else await measure(session, self._pool.runtime.supervisor)
            )
            view = self._show(request, session, usage)
        except asyncio.CancelledError:  # the caller hung up and never learns of its session
            self._pool.termination.abandon(session)
            raise
        response = json_response(view, status=201)
        response.headers["Location"] = f"/v1/sessions/{session.id}"
        took_ms = (time.perf_counter() - began) * 1000
        response.headers["Server-Timing"] = f"create;dur={took_ms:.1f}"
        if preferred is not None and asked == preferred:
            response.headers["Preference-Applied"] = "wait"
        return response

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/sessions``: the caller's that run; with ``?all=1`` the ended ones too, and to
        an administrator those that wait for an owner."""
        identity = self._identify(request)
        every = _ALL.get(request.query.get("all", "0"))
        if every is None:
            raise InvalidRequest("all is 0 or 1.")
        shown = [s for s in self._pool.registry.all() if identity.sees(s.owner)]
        if not every:
            shown = [s for s in shown if s.state is not State.CLOSED and s.owner != POOL]
        views = await asyncio.gather(*(self._view(request, session) for session in shown))
        return json_response(session.SessionList(list(views)))

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/sessions/{id}``, for a while also after its end."""
        return json_response(await self._view(request, self._find(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE /v1/sessions/{id}``: 204 when nothing of it is left. Again: 204 again."""
        session = self._find(request)
        if session.state is not State.CLOSED:
            await self._pool.termination.end(session, Reason.DELETED, "it was deleted")
        return web.Response(status=204)

    async def keepalive(self, request: web.Request) -> web.Response:
        """``POST /v1/sessions/{id}/keepalive``: the idle timeout begins anew."""
        session = self._find(request)
        self._pool.registry.live(session.id)
        session.touch()
        return json_response(await self._view(request, session))

    def _waiters(self, identity: Identity) -> session.QueueView:
        now = self._pool.runtime.clock()
        waiting = [
            session.WaiterView(place, w.spec.owner, w.spec.labels, round(now - w.since, 3))
            for place, w in self._pool.admission.queue.waiters()
            if identity.sees(w.spec.owner)
        ]
        return session.QueueView(waiting)

    async def queue(self, request: web.Request) -> web.Response:
        """``GET /v1/queue``: who waits for a place; place 1 is the next."""
        return json_response(self._waiters(self._identify(request)))

    def _clients(self) -> session.ClientsStatus:
        browsers = [s.browser for s in self._pool.registry.chromes if s.browser is not None]
        dropped = self._services.dropped
        now = sum(len(browser.clients) for browser in browsers)
        return session.ClientsStatus(now, dropped["dead"], dropped["slow"])

    def _places(self) -> session.SessionPlaces:
        pool = self._pool
        settings = pool.runtime.settings
        places = session.SessionPlaces(pool.admission.occupied, settings.max_sessions)
        if settings.dynamic_limits:
            places.admitted, places.why = pool.admission.slots, pool.admission.autoscale.why
        return places

    async def status(self, request: web.Request) -> web.Response:
        """``GET /v1/status``: the daemon and what it found on this machine."""
        self._identify(request)
        pool = self._pool
        host, settings, breaker = pool.runtime.host, pool.runtime.settings, pool.admission.breaker
        pause_s = breaker.pause_s(pool.runtime.clock())
        return json_response(
            session.StatusView(
                version=__version__,
                sessions=self._places(),
                queue=session.PlacesView(pool.admission.queue.waiting, settings.queue_length),
                warm=session.WarmView(
                    pool.admission.warm_waiting, pool.admission.warm_wanted, pool.warm.taken
                ),
                breaker=session.BreakerView(breaker.is_open, round(pause_s, 3), breaker.words),
                limits=session.LimitsStatus(host.cgroup, list(host.enforced)),
                host=host,
                stopping=pool.gate.stopping,
                drain=drain_view(self._services.drainer, pool.runtime.clock()),
                gateway=session.GatewayStatus(
                    len(asyncio.all_tasks()),
                    self._services.welcome.restarts,
                    self._services.welcome.deaths,
                ),
                clients=self._clients(),
                canaries=session.CanariesStatus(**self._services.canaries.outcomes),
                health=session.HealthStatus(
                    self._services.health.rounds,
                    self._services.health.checks,
                    self._services.health.failures,
                ),
                journal=status_of(self._services.history),
                alerts=[
                    session.AlertView(a.name, a.severity, a.since, a.text)
                    for a in self._services.alerts.raised.values()
                ],
                memory=session.MemoryStatus(
                    memory.left(host.counted_in), memory.cap(host.counted_in)
                ),
            )
        )

    async def openapi(self, _: web.Request) -> web.Response:
        """``GET /openapi.json``: this API, for programs."""
        return web.Response(body=openapi.document(), content_type="application/json")

    async def healthz(self, _: web.Request) -> web.Response:
        """``GET /healthz``: the gateway answers."""
        return json_response(session.Health("ok"))

    async def readyz(self, _: web.Request) -> web.Response:
        """``GET /readyz``: 200 when one more session would be taken, else the refusal."""
        self._pool.admission.check_slot()
        return json_response(session.Health("ready"))

    async def metrics(self, request: web.Request) -> web.Response:
        """``GET /metrics``: numbers of all sessions together, or by slot, and of no owner: they are
        for everybody who may open the socket, and over TCP without a token if so configured."""
        if not self._pool.runtime.settings.metrics_tcp:
            self._identify(request)
        return await serve_metrics(request)
