"""The unprivileged half: ``python -m chromepool.gateway``, started by the supervisor alone.

Everything is imported before root is dropped, because the code may lie where only root can read
(/root, say), and root is dropped before the first byte that is not the supervisor's is read.
"""

from __future__ import annotations

import asyncio
import dataclasses
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

from chromepool import canary, wire
from chromepool.config import Settings
from chromepool.errors import SessionNotFound
from chromepool.gateway.handover import release
from chromepool.gateway.handover.adopt import Adopter
from chromepool.gateway.history.database import Database
from chromepool.gateway.history.recorder import HistoryRecorder
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.admin import DRAINER
from chromepool.gateway.http.control import Control
from chromepool.gateway.http.devtools import DevTools
from chromepool.gateway.http.identity import by_credentials
from chromepool.gateway.http.metrics import measure
from chromepool.gateway.http.server import Server
from chromepool.gateway.log import get_logger, on_loop_fault, set_up
from chromepool.gateway.monitor.alert_loop import AlertLoop
from chromepool.gateway.monitor.alerts import WINDOW_S
from chromepool.gateway.monitor.health import Health
from chromepool.gateway.monitor.metrics import Metrics
from chromepool.gateway.monitor.webhook import Webhook
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.deadlines import Sweeper
from chromepool.gateway.sessions.drain import Drainer
from chromepool.gateway.sessions.events import Event
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.supervisor.gateway.process import (
    CONTROL_FD,
    DEVTOOLS_FD,
    EVIDENCE_FD,
    EVIDENCE_SIGNAL,
    WIRE_FD,
)
from chromepool.supervisor.history_folder import journal_folder
from chromepool.supervisor.linux.rlimits import raise_file_limit
from chromepool.supervisor.linux.uids import become

try:
    import uvloop
except ImportError:  # not on every platform; the loop of the standard library serves as well
    uvloop = None  # type: ignore[assignment]

log = get_logger("chromepool.gateway")

_ADOPTING_S = 2.0
"""Time for the Chromes of the gateway before to answer, until others are served all the same."""
_HANDLERS_S = 2.0
"""Time the last requests have once every session has ended."""
_JOURNAL_S = 1.0
"""Of that, the time to write the last of the journal."""


def welcome(sock: socket.socket) -> tuple[Settings, wire.Welcome]:
    """The supervisor's first message, and the settings in it."""
    received = wire.receive(sock)
    if received is None or not isinstance(received[0], wire.Welcome):
        raise SystemExit("the supervisor did not send its welcome")
    message = received[0]
    return Settings(**message.settings), message


def drop_root(uid: int) -> None:
    """Becomes ``uid``, for good, and dies with the supervisor (a change of uid clears that)."""
    parent = os.getppid()
    if os.geteuid() == 0:
        become(uid)
    prctl.set_no_new_privs(1)
    prctl.set_pdeathsig(signal.SIGKILL)
    prctl.set_name("chromepool-gw")
    if os.getppid() != parent:
        raise SystemExit("the supervisor is gone")


def authority_of(sock: socket.socket) -> str:
    """Host and port to reach a listener at from this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _without_content(record: logging.LogRecord) -> bool:
    """What aiohttp logs of a request that it cannot read quotes the request, token and all."""
    error = record.exc_info[1] if record.exc_info else None
    record.msg, record.args = "request.unreadable", ()
    record.__dict__["fields"] = {"error": type(error).__name__}
    record.exc_info = record.exc_text = None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"  # anybody can send them
    return logging.getLogger("aiohttp.server").isEnabledFor(logging.DEBUG)


@dataclasses.dataclass(frozen=True, slots=True)
class _Farewell:
    """Why it is over, and how much time there is."""

    timeout_s: float
    sessions_stay: bool = False


class _Gateway:
    """Everything that serves, put together."""

    def __init__(self, sock: socket.socket, settings: Settings, told: wire.Welcome) -> None:
        loop = asyncio.get_running_loop()
        self._told = told
        self._farewell: asyncio.Future[_Farewell] = loop.create_future()
        self._manager = manager = Manager(settings, told.host)
        manager.tokens, manager.webhook_secret = told.tokens, told.webhook_secret
        manager.restarts, manager.deaths = told.restarts, told.deaths
        manager.number_on(told.next_key)
        manager.on_shutdown = lambda timeout_s: self._part(_Farewell(timeout_s))
        manager.on_handover = lambda timeout_s: self._part(_Farewell(timeout_s, sessions_stay=True))
        self._creator = creator = Creator(manager)
        self._adopter = Adopter(manager, creator)
        manager.events.hold()
        self._history = self._make_history() if settings.journal else None
        manager.journal = self._history
        manager.link = SupervisorClient(sock, manager)
        self._metrics = Metrics(manager, creator)
        self._webhook = Webhook(lambda: (manager.settings.webhook_url, manager.webhook_secret))
        self._watch = AlertLoop(manager, creator, self._webhook.send, told.failures)
        self._metrics.sources += [self._watch.write, self._webhook.write]
        self._drainer = Drainer(manager, creator, told.drain)
        self._server = self._make_server()

    def _make_history(self) -> HistoryWriter:
        settings, events = self._manager.settings, self._manager.events
        path = journal_folder(settings) / "journal.db"
        writer = HistoryWriter(Database(path, settings.journal_sessions, settings.journal_days))
        recorder = HistoryRecorder(writer)
        events.watch(lambda event: recorder.on_event(event, self._session_of(event)))
        return writer

    def _session_of(self, event: Event) -> Session | None:
        try:
            return None if event.session_id is None else self._manager.get(event.session_id)
        except SessionNotFound:
            return None

    def _make_server(self) -> Server:
        manager, creator = self._manager, self._creator
        control, devtools = socket.socket(fileno=CONTROL_FD), socket.socket(fileno=DEVTOOLS_FD)
        identify = by_credentials(manager)
        apps = (
            (Control(manager, creator, identify, authority_of(devtools)).app(), control),
            (DevTools(manager, creator).app(), devtools),
        )
        for app, _ in apps:
            measure(app, self._metrics)
            app[DRAINER] = self._drainer
        return Server(apps, _HANDLERS_S)

    def _part(self, farewell: _Farewell) -> None:
        if not self._farewell.done():
            self._farewell.set_result(farewell)

    async def serve(self) -> None:
        """Takes over what the gateway before had, and serves until the supervisor says stop; then
        ends every session, or leaves them to the next gateway, and returns."""
        manager = self._manager
        await manager.link.adopted(self._told.adopting)
        last = 0
        if self._history is not None:
            last = await self._history.start(self._adopter.ids)
            now = time.time()
            self._watch.resume(await self._history.alert_state(now - WINDOW_S), now)
        manager.events.number_on(last)
        await self._adopter.settle(_ADOPTING_S)
        await self._server.start()
        manager.link.ready()
        watching = [asyncio.create_task(work) for work in self._watchers()]
        sending = asyncio.create_task(self._webhook.run())
        farewell = await self._farewell
        for task in watching:
            task.cancel()
        if farewell.sessions_stay:
            await self._leave_sessions(farewell.timeout_s)
        else:
            await self._end_sessions(farewell.timeout_s)
        if self._history is not None:
            await self._history.close(_JOURNAL_S)
        await self._server.close()
        sending.cancel()
        self._webhook.close()
        manager.link.close()

    def _watchers(self) -> list[Coroutine[Any, Any, None]]:
        manager, creator = self._manager, self._creator
        return [
            Sweeper(manager, creator).run(),
            Health(manager).run(),
            canary.fly_forever(manager),
            self._metrics.lag.watch(),
            self._watch.run(),
            self._drainer.run(),
            manager.recorder.run(lambda: manager.chromes),
        ]

    async def _end_sessions(self, timeout_s: float) -> None:
        try:
            # The supervisor has the last word at its deadline; a little before, it is told the
            # truth.
            await self._manager.end_all(max(0.0, timeout_s - _HANDLERS_S))
        except TimeoutError:
            log.error("gateway.sessions_left", within_s=timeout_s)

    async def _leave_sessions(self, timeout_s: float) -> None:
        """What is under way comes to its end, as far as there is time, and nothing else begins."""
        manager = self._manager
        patience_s = max(0.0, timeout_s - _HANDLERS_S - _JOURNAL_S)
        await self._server.leave_listeners()
        manager.close(release.restarting())
        await self._creator.settle(patience_s)
        await release.part(manager)
        await self._server.settle(_HANDLERS_S)
        await release.flush(manager, _JOURNAL_S)


async def serve(sock: socket.socket, settings: Settings, told: wire.Welcome) -> None:
    """Serves until the supervisor says stop."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_fault)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)  # the wire decides when to stop
    await _Gateway(sock, settings, told).serve()


def main() -> None:
    """Entry of the gateway's process."""
    # Written in C, so that it works whatever Python is busy with.
    faulthandler.register(EVIDENCE_SIGNAL, file=EVIDENCE_FD, all_threads=True)
    sock = socket.socket(fileno=WIRE_FD)
    wire.send(sock, wire.Loaded())
    settings, told = welcome(sock)
    set_up(settings.log_level)
    logging.getLogger("aiohttp.server").addFilter(_without_content)
    if settings.canary_interval_s:
        canary.preload()
    drop_root(settings.gateway_uid)
    raise_file_limit()
    work = serve(sock, settings, told)
    if uvloop is None:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    main()
