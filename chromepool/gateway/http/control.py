"""Handlers for sessions, the queue, the status and the health of the daemon."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from multidict import MultiDict, MultiMapping

from chromepool import __version__
from chromepool.gateway.capacity import memory
from chromepool.gateway.http import openapi
from chromepool.gateway.http.admin import drain_view
from chromepool.gateway.http.history import status_of
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.metrics import serve_metrics
from chromepool.gateway.http.problems import NUMBER
from chromepool.gateway.http.requests import preferred_wait, read_json, read_query, seconds
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.session_requests import make_spec
from chromepool.gateway.http.views import json_response, show
from chromepool.gateway.sessions.session import POOL, Session, measure
from chromepool.model import Reason, State, Usage
from chromepool.schema import admin
from chromepool.schema.routes import SHOW_SESSION
from chromepool.schema.session import (
    CreateParams,
    CreateSession,
    ListParams,
    SessionList,
    SessionView,
)


class Control:
    """Handlers of the sessions and of the daemon as a whole."""

    def __init__(self, services: Services, identify: Identify, authority: str = "") -> None:
        """``authority`` is the host and port of the DevTools endpoint; without it, those of each
        request count."""
        self._services = services
        self._pool = services.pool
        self._identify = identify
        self._authority = authority

    async def _view(self, request: web.Request, session: Session) -> SessionView:
        return self._show(request, session, await measure(session, self._pool.runtime.supervisor))

    def _show(self, request: web.Request, session: Session, usage: Usage) -> SessionView:
        return show(session, usage, self._pool.runtime.host, self._authority or request.host)

    def _find(self, request: web.Request) -> Session:
        identity = self._identify(request)
        session = identity.find(self._pool.registry, request.match_info["id"])
        request[NUMBER] = session.key
        return session

    async def create(self, request: web.Request) -> web.Response:
        """Create a session, and answer once it can be driven."""
        began = time.perf_counter()
        identity = self._identify(request)
        settings = self._pool.runtime.settings
        body = read_json(await request.read(), CreateSession)
        spec = make_spec(body, identity.owner, settings)
        preferred = preferred_wait(request.headers.get("Prefer"))
        query: MultiMapping[str] = request.query
        if preferred is not None and "wait" not in query:
            query = MultiDict(wait=preferred)
        params = read_query(query, CreateParams)
        session = await self._pool.creation.create(
            spec, seconds(params.wait, settings.queue_wait_s)
        )
        # The usage is what is known already: the answer does not wait for the supervisor.
        response = json_response(self._show(request, session, session.usage), status=201)
        response.headers["Location"] = SHOW_SESSION.url(id=session.id)
        took_ms = (time.perf_counter() - began) * 1000
        response.headers["Server-Timing"] = f"create;dur={took_ms:.1f}"
        if params.wait == preferred:
            response.headers["Preference-Applied"] = "wait"
        return response

    async def list(self, request: web.Request) -> web.Response:
        """List the caller's running sessions; with ``?all=1`` also the ended ones, and for
        administrators the warm Chromes."""
        identity = self._identify(request)
        every = read_query(request.query, ListParams).all in ("1", "true")
        shown = [s for s in self._pool.registry.all() if identity.sees(s.owner)]
        if not every:
            shown = [s for s in shown if s.state is not State.CLOSED and s.owner != POOL]
        views = await asyncio.gather(*(self._view(request, session) for session in shown))
        return json_response(SessionList(list(views)))

    async def show(self, request: web.Request) -> web.Response:
        """Show a session, for a while also after its end."""
        return json_response(await self._view(request, self._find(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """End a session, and answer once nothing of it is left. May be called again."""
        session = self._find(request)
        if session.state is not State.CLOSED:
            await self._pool.termination.end(session, Reason.DELETED, "it was deleted")
        return web.Response(status=204)

    async def keepalive(self, request: web.Request) -> web.Response:
        """Restart the idle timeout of a session."""
        session = self._find(request)
        self._pool.registry.live(session.id)
        session.touch()
        return json_response(await self._view(request, session))

    def _waiters(self, identity: Identity) -> admin.QueueView:
        now = self._pool.runtime.clock()
        waiting = [
            admin.WaiterView(place, w.spec.owner, w.spec.labels, round(now - w.since, 3))
            for place, w in self._pool.admission.queue.waiters()
            if identity.sees(w.spec.owner)
        ]
        return admin.QueueView(waiting)

    async def queue(self, request: web.Request) -> web.Response:
        """List the callers that wait for a slot, the next one first."""
        return json_response(self._waiters(self._identify(request)))

    def _clients(self) -> admin.ClientsStatus:
        browsers = [s.browser for s in self._pool.registry.chromes if s.browser is not None]
        dropped = self._services.dropped
        now = sum(len(browser.clients) for browser in browsers)
        return admin.ClientsStatus(now, dropped["dead"], dropped["slow"])

    def _places(self) -> admin.SessionPlaces:
        pool = self._pool
        settings = pool.runtime.settings
        places = admin.SessionPlaces(pool.admission.occupied, settings.max_sessions)
        if settings.dynamic_limits:
            places.admitted, places.why = pool.admission.slots, pool.admission.autoscale.why
        return places

    async def status(self, request: web.Request) -> web.Response:
        """Show the state of the daemon."""
        self._identify(request)
        pool = self._pool
        host, settings, breaker = pool.runtime.host, pool.runtime.settings, pool.admission.breaker
        pause_s = breaker.pause_s(pool.runtime.clock())
        return json_response(
            admin.StatusView(
                version=__version__,
                sessions=self._places(),
                queue=admin.PlacesView(pool.admission.queue.waiting, settings.queue_length),
                warm=admin.WarmView(len(pool.warm), pool.admission.warm_wanted, pool.warm.taken),
                breaker=admin.BreakerView(breaker.is_open, round(pause_s, 3), breaker.words),
                limits=admin.LimitsStatus(host.cgroup, list(host.enforced)),
                host=host,
                stopping=pool.gate.stopping,
                drain=drain_view(self._services.drainer, pool.runtime.clock()),
                gateway=admin.GatewayStatus(
                    len(asyncio.all_tasks()),
                    self._services.welcome.restarts,
                    self._services.welcome.deaths,
                ),
                clients=self._clients(),
                canaries=admin.CanariesStatus(**self._services.canaries.outcomes),
                health=admin.HealthStatus(
                    self._services.health.rounds,
                    self._services.health.checks,
                    self._services.health.failures,
                ),
                journal=status_of(self._services.history),
                alerts=list(self._services.alerts.raised.values()),
                memory=admin.MemoryStatus(
                    memory.left(host.counted_in), memory.cap(host.counted_in)
                ),
            )
        )

    async def openapi(self, _: web.Request) -> web.Response:
        """Send the OpenAPI document."""
        return web.Response(body=openapi.document(), content_type="application/json")

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer, which shows that the gateway does."""
        return json_response(admin.Health("ok"))

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer 200 if another session would be admitted, or else with the refusal."""
        self._pool.admission.check_slot()
        return json_response(admin.Health("ready"))

    async def metrics(self, request: web.Request) -> web.Response:
        """Send the metrics. They name no owner, so that with ``metrics_tcp`` no token is needed."""
        if not self._pool.runtime.settings.metrics_tcp:
            self._identify(request)
        return await serve_metrics(request)
