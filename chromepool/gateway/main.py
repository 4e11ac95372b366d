"""The gateway's process: everything is put together here, and nowhere else. Everything is imported
before root is dropped, because the code may lie where only root can read (/root, say), and root is
dropped before the first byte that is not the supervisor's is read."""

import asyncio
import encodings.idna  # noqa: F401  # imported late by aiohttp and socket otherwise
import faulthandler
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from typing import Any

import prctl

from chromepool import canary, startup, wire
from chromepool.config import Settings
from chromepool.gateway.event_stream import Event, EventStream
from chromepool.gateway.handover import adopt, release, snapshot
from chromepool.gateway.history import database, recorder, writer
from chromepool.gateway.http import identity, routes, server, services
from chromepool.gateway.log import get_logger, on_loop_fault, set_up
from chromepool.gateway.monitor import alert_loop, alerts, canary_loop, health, metrics, webhook
from chromepool.gateway.runtime import EventBus, Runtime, Tasks
from chromepool.gateway.sessions import events
from chromepool.gateway.sessions.deadlines import Deadlines
from chromepool.gateway.sessions.drain import Drainer
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.supervisor import SessionOffered, SupervisorClient

try:
    import uvloop
except ImportError:  # not on every platform; the loop of the standard library serves as well
    uvloop = None  # type: ignore[assignment]

log = get_logger("chromepool.gateway")

_ADOPTING_S = 2.0
"""Time for adopted Chromes to answer; after it, clients are served all the same."""
_HANDLERS_S = 2.0
"""Time that the last requests have once every session has ended."""
_HISTORY_S = 1.0
"""Time to write the last of the history, and to flush what is written to others."""


def drop_root(uid: int) -> None:
    """Become ``uid`` for good, and die with the supervisor (a change of uid clears that)."""
    parent = os.getppid()
    if os.geteuid() == 0:
        startup.become(uid)
    prctl.set_no_new_privs(1)
    prctl.set_pdeathsig(signal.SIGKILL)
    prctl.set_name("chromepool-gw")
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")


def authority_of(sock: socket.socket) -> str:
    """Host and port at which this machine reaches a listener."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _without_content(record: logging.LogRecord) -> bool:
    """Remove the request from what aiohttp logs of unreadable ones: it may have a token."""
    error = record.exc_info[1] if record.exc_info else None
    record.msg, record.args = "request.unreadable", ()
    record.__dict__["fields"] = {"error": type(error).__name__}
    record.exc_info = record.exc_text = None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"  # anybody can send them
    return logging.getLogger("aiohttp.server").isEnabledFor(logging.DEBUG)


def subscribe_pool(pool: Pool, deadlines: Deadlines) -> None:
    """Subscribe the parts of the pool to the events they react to."""
    bus = pool.runtime.bus
    publisher = events.SessionPublisher(pool.runtime.events)
    bus.subscribe(wire.Exited, pool.termination.on_exited)
    bus.subscribe(wire.Gone, pool.termination.on_gone)
    bus.subscribe(events.PipeClosed, pool.termination.on_pipe_closed)
    bus.subscribe(events.SessionReady, publisher.on_ready)
    bus.subscribe(events.SessionChanged, publisher.on_changed)
    bus.subscribe(events.SessionEnding, pool.warm.on_ending, publisher.on_ending)
    bus.subscribe(events.SessionGone, publisher.on_gone)
    bus.subscribe(events.SlotFreed, lambda _: pool.admission.queue.pump())
    bus.subscribe(events.SlotFreed, lambda _: pool.warm_pool.refill())
    bus.subscribe(events.SweepDue, deadlines.wake)
    bus.subscribe(events.ClientLeft, deadlines.wake)


def _make_history(settings: Settings) -> writer.HistoryWriter:
    path = settings.history_dir / "journal.db"
    file = database.Database(path, settings.journal_sessions, settings.journal_days)
    return writer.HistoryWriter(file)


class _Gateway:
    """A gateway, put together: its parts, their subscriptions, and its loops."""

    def __init__(self, sock: socket.socket, settings: Settings, welcome: wire.Welcome) -> None:
        loop = asyncio.get_running_loop()
        self._welcome = welcome
        self._end: asyncio.Future[wire.Shutdown | wire.Handover] = loop.create_future()
        bus = EventBus()
        self._runtime = runtime = Runtime(
            settings=settings,
            host=welcome.host,
            clock=time.monotonic,
            bus=bus,
            events=EventStream(time.monotonic, bus.publish),
            supervisor=SupervisorClient(sock, bus.publish),
            tasks=Tasks(),
        )
        runtime.events.hold()  # until the history tells how many there were
        self._pool = pool = Pool(runtime, welcome.next_key)
        digests = dict(welcome.tokens)
        self._history = _make_history(settings) if settings.journal else None
        self._snapshots = snapshot.SnapshotWriter(pool)
        self._adopter = adopt.Adopter(pool)
        self._drainer = Drainer(pool, welcome.drain)
        self._deadlines = Deadlines(pool)
        self._webhook = webhook.Webhook(settings.webhook_url, welcome.webhook_secret)
        self._canaries = canary_loop.CanaryLoop(runtime, digests)
        self._health = health.HealthChecker(pool)
        remember = self._history.set_alerts if self._history else lambda alerts: None
        self._alerts = alert_loop.AlertLoop(
            pool, self._canaries, self._webhook.send, remember, welcome.failures
        )
        writers = (self._alerts.write_metrics, self._webhook.write, self._canaries.write_metrics)
        self._metrics = metrics.Metrics(pool, self._health, welcome, writers)
        self._subscribe(bus)
        self._server = self._make_server(digests)

    def _subscribe(self, bus: EventBus) -> None:
        """Subscribe each part to its events; only here and in :func:`subscribe_pool`."""
        pool = self._pool
        # from the supervisor
        bus.subscribe(SessionOffered, self._adopter.on_offered)
        bus.subscribe(wire.Shutdown, self._finish)
        bus.subscribe(wire.Handover, self._finish)
        # sessions
        changed = self._snapshots.on_change
        bus.subscribe(events.TabCrashed, self._metrics.on_tab_crashed)
        bus.subscribe(events.SessionReady, changed, self._metrics.on_ready)
        bus.subscribe(events.SessionChanged, changed)
        bus.subscribe(events.SessionEnding, changed, self._alerts.on_ending)
        bus.subscribe(events.SessionGone, self._snapshots.on_gone, self._metrics.on_gone)
        subscribe_pool(pool, self._deadlines)
        bus.subscribe(events.SlotFreed, self._drainer.wake)
        # public events
        if self._history is not None:
            record = recorder.HistoryRecorder(self._history).on_event
            bus.subscribe(Event, lambda event: record(event, pool.registry.find(event.session_id)))

    def _make_server(self, digests: dict[str, str]) -> server.Server:
        control = socket.socket(fileno=startup.CONTROL_FD)
        devtools = socket.socket(fileno=startup.DEVTOOLS_FD)
        served = services.Services(
            pool=self._pool,
            drainer=self._drainer,
            metrics=self._metrics,
            health=self._health,
            canaries=self._canaries,
            alerts=self._alerts,
            history=self._history,
            welcome=self._welcome,
            digests=digests,
        )
        identify = identity.by_credentials(self._runtime)
        control_app = routes.control_app(served, identify, authority_of(devtools))
        apps = ((control_app, control), (routes.devtools_app(served), devtools))
        return server.Server(apps, _HANDLERS_S)

    def _finish(self, message: wire.Shutdown | wire.Handover) -> None:
        if not self._end.done():
            self._end.set_result(message)

    async def serve(self) -> None:
        """Adopt the sessions of the gateway before, and serve until the supervisor says stop;
        then end every session, or leave them to the next gateway."""
        supervisor = self._runtime.supervisor
        await supervisor.adopted(self._welcome.adopting)
        self._runtime.events.number_on(await self._recall())
        await self._adopter.settle(_ADOPTING_S)
        await self._server.start()
        supervisor.send(wire.Ready())
        loops = [asyncio.create_task(loop) for loop in self._loops()]
        sending = asyncio.create_task(self._webhook.run())
        end = await self._end
        for task in loops:
            task.cancel()
        if isinstance(end, wire.Handover):
            await self._leave_sessions(end.timeout_s)
        else:
            await self._end_sessions(end.timeout_s)
        if self._history is not None:
            await self._history.close(_HISTORY_S)
        await self._server.close()
        sending.cancel()
        self._webhook.close()
        supervisor.close()

    async def _recall(self) -> int:
        """Take over alerts from the history, and return the number of its last event."""
        if self._history is None:
            return 0
        last = await self._history.start(self._adopter.ids)
        now = time.time()
        self._alerts.resume(await self._history.alert_state(now - alerts.WINDOW_S), now)
        return last

    def _loops(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._deadlines.run(),
            self._health.run(),
            self._canaries.run(),
            self._metrics.lag.watch(),
            self._alerts.run(),
            self._drainer.run(),
            self._snapshots.run(),
        ]

    async def _end_sessions(self, timeout_s: float) -> None:
        try:
            # The supervisor kills what is left at its deadline; sessions end a little before it.
            await self._pool.termination.end_all(max(0.0, timeout_s - _HANDLERS_S))
        except TimeoutError:
            log.error("gateway.sessions_left", within_s=timeout_s)

    async def _leave_sessions(self, timeout_s: float) -> None:
        """Let requests under way end, as far as there is time, and accept no others."""
        pool = self._pool
        await self._server.leave_listeners()
        pool.gate.close(release.restarting())
        await pool.creation.settle(max(0.0, timeout_s - _HANDLERS_S - _HISTORY_S))
        await release.disconnect_clients(pool)
        await self._server.settle(_HANDLERS_S)
        await release.flush(pool, self._snapshots, _HISTORY_S)


async def serve(sock: socket.socket, settings: Settings, welcome: wire.Welcome) -> None:
    """Serve until the supervisor says stop."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_fault)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)  # the wire decides when to stop
    await _Gateway(sock, settings, welcome).serve()


def main() -> None:
    """Run the gateway's process."""
    # faulthandler is written in C, so it works whatever Python is busy with.
    faulthandler.register(startup.EVIDENCE_SIGNAL, file=startup.EVIDENCE_FD, all_threads=True)
    sock = socket.socket(fileno=startup.WIRE_FD)
    wire.send(sock, wire.Loaded())
    welcome, _ = wire.receive(sock) or (None, [])
    if not isinstance(welcome, wire.Welcome):
        raise SystemExit("the supervisor did not send its welcome")
    settings = Settings.from_values(welcome.settings)
    set_up(settings.log_level)
    logging.getLogger("aiohttp.server").addFilter(_without_content)
    if settings.canary_interval_s:
        canary.preload()
    drop_root(settings.gateway_uid)
    startup.raise_file_limit()
    (uvloop or asyncio).run(serve(sock, settings, welcome))


if __name__ == "__main__":
    main()
