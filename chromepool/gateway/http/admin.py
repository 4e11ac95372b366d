"""Handlers for the daemon as a whole: drain, reload, queue, status, health, metrics."""

import asyncio
import datetime
import os

from aiohttp import web

from chromepool import __version__
from chromepool.errors import Forbidden
from chromepool.gateway.capacity import memory
from chromepool.gateway.http import openapi
from chromepool.gateway.http.requests import read_json, read_query, seconds
from chromepool.gateway.http.services import Handlers, json_response, view
from chromepool.gateway.monitor.metrics import CONTENT_TYPE
from chromepool.gateway.sessions.session import utc_now
from chromepool.schema import admin as schema
from chromepool.schema.history import JournalStatus


class AdminHandlers(Handlers):
    """Handlers of the routes that are not about one session."""

    # -- drain and reload --

    def _check(self, request: web.Request) -> None:
        if not self._identify(request).admin:
            raise Forbidden(
                "Only administrators may drain or reload the daemon.",
                remedy="Use the Unix socket as root, as the daemon's user or as a member of its "
                "group.",
            )

    def _drain(self) -> schema.DrainView:
        drainer = self._services.drainer
        found = schema.DrainView(False, len(drainer.left()), pid=os.getppid())  # the supervisor's
        if drainer.now is not None:
            found.draining = True
            found.exit = drainer.now.leave
            if drainer.now.deadline is not None:
                left_s = drainer.now.deadline - self._pool.runtime.clock()
                found.ends_at = utc_now() + datetime.timedelta(seconds=left_s)
        return found

    async def show_drain(self, request: web.Request) -> web.Response:
        """Show the progress of a drain, at once or when it is over."""
        self._identify(request)
        wait_s = seconds(read_query(request.query, schema.DrainParams).wait, schema.MOST_WAIT_S)
        if wait_s:
            await self._services.drainer.settled(wait_s)
        return json_response(self._drain())

    async def drain(self, request: web.Request) -> web.Response:
        """Refuse new sessions from now on."""
        self._check(request)
        wanted = read_json(await request.read(), schema.DrainRequest)
        self._services.drainer.begin(wanted.deadline_s, leave=wanted.exit)
        return json_response(self._drain(), 202)

    async def cancel_drain(self, request: web.Request) -> web.Response:
        """Accept new sessions again."""
        self._check(request)
        self._services.drainer.cancel()
        return web.Response(status=204)

    async def reload(self, request: web.Request) -> web.Response:
        """Have the supervisor read the settings and start a new gateway."""
        self._check(request)
        await self._pool.runtime.supervisor.reload()
        return json_response(view(schema.ReloadView, self._services.welcome), 202)

    # -- queue and status --

    async def list_queue(self, request: web.Request) -> web.Response:
        """List the callers that wait for a slot, the next one first."""
        identity = self._identify(request)
        now = self._pool.runtime.clock()
        waiting = [
            schema.WaiterView(place, w.spec.owner, w.spec.labels, round(now - w.since, 3))
            for place, w in self._pool.admission.queue.waiters()
            if identity.sees(w.spec.owner)
        ]
        return json_response(schema.QueueView(waiting))

    def _clients(self) -> schema.ClientsStatus:
        browsers = [s.browser for s in self._pool.registry.chromes if s.browser is not None]
        dropped = self._services.dropped
        now = sum(len(browser.clients) for browser in browsers)
        return schema.ClientsStatus(now, dropped["dead"], dropped["slow"])

    def _places(self) -> schema.SessionPlaces:
        admission, settings = self._pool.admission, self._pool.runtime.settings
        places = schema.SessionPlaces(admission.occupied, settings.max_sessions)
        if settings.dynamic_limits:
            places.admitted = admission.slots
            places.why = admission.autoscale.why
        return places

    async def show_status(self, request: web.Request) -> web.Response:
        """Show the state of the daemon."""
        self._identify(request)
        services, pool, admission = self._services, self._pool, self._pool.admission
        host, breaker, journal = pool.runtime.host, admission.breaker, services.history
        pause_s = round(breaker.pause_s(pool.runtime.clock()), 3)
        waiting = admission.queue.waiting, pool.runtime.settings.queue_length
        warm = len(pool.warm), admission.warm_wanted, pool.warm.taken
        tasks = len(asyncio.all_tasks())
        return json_response(
            schema.StatusView(
                version=__version__,
                sessions=self._places(),
                queue=schema.PlacesView(*waiting),
                warm=schema.WarmView(*warm),
                breaker=schema.BreakerView(breaker.is_open, pause_s, breaker.words),
                limits=schema.LimitsStatus(host.cgroup, list(host.enforced)),
                host=host,
                stopping=pool.gate.stopping,
                drain=self._drain(),
                gateway=view(schema.GatewayStatus, services.welcome, tasks=tasks),
                clients=self._clients(),
                canaries=schema.CanariesStatus(**services.canaries.outcomes),
                health=view(schema.HealthStatus, services.health),
                journal=view(JournalStatus, journal or JournalStatus(False), enabled=bool(journal)),
                alerts=list(services.alerts.raised.values()),
                memory=schema.MemoryStatus(
                    memory.left(host.counted_in), memory.cap(host.counted_in)
                ),
            )
        )

    # -- health, metrics, OpenAPI --

    async def openapi(self, _: web.Request) -> web.Response:
        """Send the OpenAPI document."""
        return web.Response(body=openapi.document(), content_type="application/json")

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer, which shows that the gateway does."""
        return json_response(schema.Health("ok"))

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer 200 if another session would be admitted, or else with the refusal."""
        self._pool.admission.check_slot()
        return json_response(schema.Health("ready"))

    async def metrics(self, request: web.Request) -> web.Response:
        """Send the metrics. They name no owner, so that with ``metrics_tcp`` no token is needed."""
        if not self._pool.runtime.settings.metrics_tcp:
            self._identify(request)
        body = await self._services.metrics.scrape()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
