"""All sessions: finding and ending them, and what the supervisor tells of them."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from chromepool import wire
from chromepool.config import Settings
from chromepool.errors import (
    BrowserGone,
    ChromepoolError,
    CommandFailed,
    Draining,
    NoAnswer,
    SessionNotFound,
    SessionNotReady,
    ShuttingDown,
)
from chromepool.gateway.browser.browser import Browser, Crash
from chromepool.gateway.handover.snapshot import SnapshotWriter
from chromepool.gateway.histogram import CdpLatency
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.downloads import Downloads
from chromepool.gateway.sessions.events import Alert, Events
from chromepool.gateway.sessions.session import POOL, Session, explain_exit
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import Exit, Host, Reason, State, Usage

log = get_logger("chromepool.gateway.sessions")

_KEPT = 100
"""Ended sessions that stay visible,"""
_KEPT_S = 3600.0
"""and for how long at most."""
GOING_AWAY, INTERNAL_ERROR = 1001, 1011
"""WebSocket close codes (RFC 6455, 7.4.1): ended on purpose, ended by a fault of the browser's."""
_FAULTS = {Reason.CRASHED, Reason.OUT_OF_MEMORY, Reason.UNHEALTHY, Reason.START_FAILED}
_STOPPING_S, _RESUMING_S = 30.0, 1.0
"""When to try again."""


@dataclasses.dataclass(slots=True)
class HealthCounts:
    """Health checks since the gateway started."""

    rounds: int = 0
    checks: int = 0
    failures: int = 0


class Manager:
    """The pool. It is also the link's watcher."""

    def __init__(
        self, settings: Settings, host: Host, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings, self.host, self.clock = settings, host, clock
        self.tokens: dict[str, str] = {}
        self.restarts = self.deaths = 0
        """How many gateways there were before, since the daemon started, and how many of them
        died."""
        self.webhook_secret = ""
        self.alerts: dict[str, Alert] = {}
        """Those that are raised now; the monitor keeps them."""
        self.events = Events(clock)
        self.journal: HistoryWriter | None = None
        """None where the operator wants none."""
        self.dropped = {"dead": 0, "slow": 0}
        """Clients whose WebSocket was closed for that."""
        self.health = HealthCounts()
        self.canaries = {"passed": 0, "failed": 0}
        self.canary_failure = None if settings.canary_interval_s else ""
        """Why the last canary did not come back; empty: it did. None: none has flown yet."""
        self.delays = CdpLatency()
        self.link: SupervisorClient
        self.recorder = SnapshotWriter(lambda: self.link)
        self._sessions: dict[str, Session] = {}
        self._by_key: dict[int, Session] = {}
        self._ended: collections.deque[Session] = collections.deque()
        self._keys = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_end: Callable[[Session], None] = lambda session: None
        """Told when a session begins to end,"""
        self.on_gone: Callable[[], None] = lambda: None
        """and when nothing of one is left."""
        self.on_adopt: Callable[[wire.Adopt, list[int]], None]
        """Told of each session of an earlier gateway; takes its descriptors."""
        self.closed: ChromepoolError | None = None
        """Why no session is made any more."""
        self.stopping = False
        self.parting = False
        """Whether clients go although their sessions stay."""
        self.on_shutdown: Callable[[float], None] = lambda timeout_s: None
        self.on_handover: Callable[[float], None] = lambda timeout_s: None

    # -- finding --

    def all(self) -> list[Session]:
        """Every session that is still known, the ended ones and those that wait too."""
        return list(self._sessions.values())

    def get(self, session_id: str) -> Session:
        """The session of this id; raises :class:`SessionNotFound`."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFound("There is no session of this id.")
        return session

    def live(self, session_id: str) -> tuple[Session, Browser]:
        """A session that can be driven, and its browser; raises :class:`SessionNotFound`,
        :class:`SessionNotReady`."""
        session = self.get(session_id)
        if session.state is State.RESUMING:
            raise SessionNotReady("The session is being taken over.", retry_after_s=_RESUMING_S)
        if session.state is not State.READY or session.browser is None or session.owner == POOL:
            why = f" It ended: {session.detail}." if session.reason else ""
            state = "waiting for an owner" if session.owner == POOL else session.state
            raise SessionNotFound(f"The session is {state}.{why}")
        return session, session.browser

    @property
    def occupied(self) -> int:
        """Places taken: a session counts until nothing of it is left. Those that wait for an owner
        do not count, since they make room, nor do those whose creation is under way."""
        return sum(1 for s in self._by_key.values() if s.owner != POOL and not s.held)

    @property
    def chromes(self) -> list[Session]:
        """Every session of which something is left."""
        return list(self._by_key.values())

    # -- adding --

    def add(self, spec: SessionSpec, *, held: bool) -> Session:
        """A new session in the table, with no Chrome yet."""
        return self.enter(Session(next(self._keys), spec, self.clock, held=held))

    def enter(self, session: Session) -> Session:
        """A session into the table."""
        session.moved = self._on_move
        self._sessions[session.id] = self._by_key[session.key] = session
        return session

    def number_on(self, key: int) -> None:
        """Sessions count from here: earlier gateways have given out what is below."""
        self._keys = itertools.count(key)

    def _on_move(self, session: Session, before: State) -> None:
        if session.state is State.READY and before is not State.RESUMING and session.owner != POOL:
            self.created(session)
            return
        name, fields = f"session.{session.state}", dict[str, Any]()
        if session.state is State.CLOSED:
            fields["usage"] = dataclasses.asdict(session.usage)
        else:
            self.recorder.note(session)
        if session.reason is not None:
            fields |= {"reason": session.reason, "detail": session.detail}
        if before is State.RESUMING and session.state is State.READY:
            name = "session.adopted"
        self.events.emit(name, session.id, session.owner, **fields)

    def created(self, session: Session) -> None:
        """Tells that somebody has a session now."""
        self.recorder.note(session)
        fields = {"labels": session.spec.labels, "warm": session.warm}
        self.events.emit("session.created", session.id, session.owner, **fields)

    def watch(
        self, session: Session, commands: int, events: int, *, adopted: bool = False
    ) -> Browser:
        """The browser of a session whose Chrome runs; takes over both descriptors."""
        browser = Browser(
            commands,
            events,
            lambda why: self._on_pipe_end(session, why),
            self.delays,
            adopted=adopted,
        )
        browser.log = browser.log.bind(session=session.key)
        browser.on_crash = lambda crash: self.later(self._explain_crash(session, crash))
        session.downloads = Downloads(self, session, browser)
        browser.on_download = session.downloads.heard
        session.browser = browser
        session.artifacts = Artifacts(self.settings, self.clock, session.auto_attacher)
        session.artifacts.on_scripts = lambda: self.recorder.note(session)
        return browser

    def not_spawned(self, session: Session) -> None:
        """No Chrome came of it. The supervisor removes what there was, unasked."""
        self._by_key.pop(session.key)
        session.is_gone.set()

    async def discard(self, session: Session, why: str) -> None:
        """Ends a session that never came to be."""
        session.held = False
        if session.key in self._by_key:
            await self.end(session, Reason.START_FAILED, why)
        elif session.begin_end(Reason.START_FAILED, why):
            session.finish(Usage())
            self._keep(session)

    def abandon(self, session: Session) -> None:
        """Ends a session that nobody knows of, since its creator hung up."""
        session.held = False
        self.later(self.end(session, Reason.CLIENT_CLOSED, "its creator hung up"))

    def forget_old(self) -> None:
        """Lets go of sessions that ended long ago."""
        while self._ended and self.clock() - self._ended[0].ended > _KEPT_S:
            self._sessions.pop(self._ended.popleft().id, None)

    # -- ending --

    async def end(self, session: Session, reason: Reason, detail: str) -> None:
        """Ends a session. When it returns, every process, cgroup and file of it is gone.

        May be called again and by several at once; the first reason stays. Escalates from
        ``Browser.close`` to SIGTERM to SIGKILL of the whole group.
        """
        frozen = session.state is State.FROZEN
        if self._begin_end(session, reason, detail):
            self.on_end(session)
            if frozen:  # or it could not hear that it is to close
                self.link.thaw(session.key, session.limits)
            self.later(self._escalate(session))  # goes on even if the caller is cancelled
        await session.is_gone.wait()

    async def _escalate(self, session: Session) -> None:
        if session.browser is None or not await self._close_politely(session, session.browser):
            self.link.stop(session.key, self.settings.term_timeout_s)

    async def _close_politely(self, session: Session, browser: Browser) -> bool:
        """``Browser.close``; whether nothing was left in time."""
        try:
            async with asyncio.timeout(self.settings.close_timeout_s):
                try:
                    await browser.call("Browser.close")
                except (BrowserGone, CommandFailed, NoAnswer) as error:
                    log.debug("session.close_refused", session=session.key, error=error)
                await session.is_gone.wait()
        except TimeoutError:
            log.warning("session.close_late", session=session.key)
            return False
        return True

    def _begin_end(self, session: Session, reason: Reason, detail: str) -> bool:
        """Clients are told; False where it was ending already."""
        if not session.begin_end(reason, detail):
            return False
        if session.browser is not None:
            code = INTERNAL_ERROR if reason in _FAULTS else GOING_AWAY
            for client in list(session.browser.clients):
                client.end(code, f"session ended: {session.reason} ({session.detail})")
        return True

    def end_by_client(self, session: Session) -> None:
        """A client has sent ``Browser.close``: the session goes, even if Chrome won't hear it."""
        self.later(self._end_after_answer(session))

    async def _end_after_answer(self, session: Session) -> None:
        """Chrome answers the command before it goes, and the client is owed that answer."""
        try:
            async with asyncio.timeout(self.settings.close_timeout_s):
                await session.is_gone.wait()
        except TimeoutError:
            await self.end(session, Reason.CLIENT_CLOSED, "a client closed the browser")

    def later(self, work: Awaitable[None]) -> None:
        """Runs work in the background."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end_all(self, timeout_s: float) -> None:
        """Ends every session for the daemon's shutdown, within ``timeout_s``."""
        self.stopping = True
        remedy = "Use another daemon, or this one once it has been started again."
        why = ShuttingDown("The daemon is stopping.", remedy=remedy, retry_after_s=_STOPPING_S)
        self.close(why)
        self.events.emit("daemon.stopping")
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(
                *(
                    self.end(session, Reason.SHUTDOWN, "the daemon is stopping")
                    for session in list(self._by_key.values())
                )
            )

    def close(self, why: ChromepoolError) -> None:
        """No more sessions from here on. Only a drain gives way to another reason: a gateway that
        leaves does not come back."""
        if self.closed is None or isinstance(self.closed, Draining):
            self.closed = why
        self.on_gone()  # those who wait for a place are told

    def open(self) -> None:
        """Takes a drain back; where there is another reason, sessions still are not made."""
        if isinstance(self.closed, Draining):
            self.closed = None

    # -- what the supervisor and the pipe tell --

    async def _explain_crash(self, session: Session, crash: Crash) -> None:
        """A tab crashed: if the kernel has killed a process for memory since, that is why."""
        killed = (await self.usage(session)).oom_kills or 0
        if killed > session.oom_kills_seen or crash.status == "oom":
            crash.reason = Reason.OUT_OF_MEMORY
        session.oom_kills_seen = max(killed, session.oom_kills_seen)
        fields = {"reason": crash.reason, "status": crash.status}
        log.warning("session.tab_crashed", session=session.key, **fields)
        self.events.emit("session.tab_crashed", session.id, session.owner, **fields)

    def _on_pipe_end(self, session: Session, why: str) -> None:
        """Chrome closed its pipe, most likely by dying: Exited tells how. Or it was closed for what
        Chrome sent: ``why`` tells. It gets no second try."""
        if session.key in self._by_key:
            if why:
                self.on_end(session)
                self._begin_end(session, Reason.UNHEALTHY, why.rstrip("."))
            self.link.stop(session.key, self.settings.term_timeout_s)

    def exited(self, key: int, exit: Exit) -> None:
        session = self._by_key.get(key)
        if session is None:
            return
        session.exit = exit
        asked = session.browser is not None and session.browser.asked_to_close
        reason, detail = explain_exit(exit, asked_to_close=asked)
        if session.state is State.STARTING:
            reason = Reason.START_FAILED
        self.on_end(session)
        self._begin_end(session, reason, detail)
        if session.browser is not None:
            session.browser.close(f"The session ended: {session.detail}.")

    def gone(self, key: int, usage: Usage) -> None:
        session = self._by_key.pop(key, None)
        if session is not None:
            session.begin_end(Reason.START_FAILED, "it never started")
            session.finish(usage)
            self.recorder.forget(session)
            self._keep(session)
            self.on_gone()

    def _keep(self, session: Session) -> None:
        if session.browser is not None:
            session.crashes, session.traffic = session.browser.crashes, session.browser.traffic
            session.browser.let_go()
            if session.artifacts is not None:
                session.artifacts.let_go()
            session.browser = session.artifacts = session.downloads = None
            session.forget_auto_attacher()
        self._ended.append(session)
        if len(self._ended) > _KEPT:
            self._sessions.pop(self._ended.popleft().id, None)

    def adopt(self, message: wire.Adopt, fds: list[int]) -> None:
        self.on_adopt(message, fds)

    def handover(self, timeout_s: float) -> None:
        self.on_handover(timeout_s)

    def shutdown(self, timeout_s: float) -> None:
        self.on_shutdown(timeout_s)

    def orphaned(self) -> None:
        log.critical("supervisor.gone")
        self.on_shutdown(0.0)

    # -- for others --

    async def usage(self, session: Session) -> Usage:
        """What a session uses, or used when it ended."""
        if session.key not in self._by_key or session.pid == 0:
            return session.usage
        try:
            return (await self.link.inspect(session.key)).usage
        except BrowserGone:
            return session.usage

    def next_key(self) -> int:
        """A number on the wire for a Chrome that is no session."""
        return next(self._keys)
