"""All sessions: creating, finding and ending them."""

from __future__ import annotations

import asyncio
import collections
import itertools
import logging
from collections.abc import Callable, Coroutine

from chromepool.browser.browser import Browser, Crash
from chromepool.config import Settings
from chromepool.errors import (
    BrowserGone,
    ChromepoolError,
    CommandFailed,
    NoAnswer,
    PoolFull,
    SessionNotFound,
    ShuttingDown,
    StartFailed,
)
from chromepool.model import Exit, Host, Limits, Reason, State, Usage
from chromepool.pool.link import Link
from chromepool.pool.session import Session, explain_exit

log = logging.getLogger("chromepool.pool")

_KEPT = 100
"""Ended sessions that stay visible."""
GOING_AWAY, INTERNAL_ERROR = 1001, 1011
"""WebSocket close codes (RFC 6455, 7.4.1): ended on purpose, ended by a fault."""
_DISCOVERY = {"discover": True, "filter": [{"type": "page"}, {"exclude": True}]}


class Manager:
    """The pool. It is also the link's watcher."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self.settings, self.host = settings, host
        self.link: Link
        self._sessions: dict[str, Session] = {}
        self._by_key: dict[int, Session] = {}
        self._ended: collections.deque[Session] = collections.deque()
        self._keys = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.on_shutdown: Callable[[float], None] = lambda timeout_s: None

    # -- finding --

    def all(self) -> list[Session]:
        """Every session that is still known, the ended ones too."""
        return list(self._sessions.values())

    def get(self, session_id: str) -> Session:
        """The session of this id; raises :class:`SessionNotFound`."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFound("There is no session of this id.")
        return session

    def live(self, session_id: str) -> tuple[Session, Browser]:
        """A session that can be driven, and its browser; raises :class:`SessionNotFound`."""
        session = self.get(session_id)
        if session.state is not State.READY or session.browser is None:
            why = f" It ended: {session.detail}." if session.reason else ""
            raise SessionNotFound(f"The session is {session.state}.{why}")
        return session, session.browser

    @property
    def occupied(self) -> int:
        """Places taken: a session counts until nothing of it is left."""
        return len(self._by_key)

    # -- creating --

    def check_room(self) -> None:
        """Raises :class:`PoolFull` or :class:`ShuttingDown` where no session would be taken."""
        if self.stopping:
            raise ShuttingDown("The daemon is stopping.")
        if self.occupied >= self.settings.max_sessions:
            raise PoolFull(
                f"All {self.settings.max_sessions} sessions are in use.",
                remedy="Delete one, or try again later.",
            )

    async def create(self, owner: str, labels: dict[str, str], limits: Limits) -> Session:
        """A session that is ready to be driven.

        Raises :class:`PoolFull`, :class:`ShuttingDown` at once, :class:`StartFailed` when Chrome
        doesn't come up; nothing of it is left then.
        """
        self.check_room()
        session = Session(next(self._keys), owner, labels, limits)
        self._sessions[session.id] = self._by_key[session.key] = session
        try:
            await self._start(session)
        except BrowserGone:
            await session.is_gone.wait()  # it is dying, and Exited will tell of what
        except ChromepoolError as error:
            await self._give_up(session, error.detail, error.remedy)
        except asyncio.CancelledError:
            self.abandon(session)
            raise
        if session.state is not State.READY:
            await self._give_up(session, session.detail)
        return session

    def abandon(self, session: Session) -> None:
        """Ends a session that nobody knows of, since its creator hung up."""
        self._later(self.end(session, Reason.CLIENT_CLOSED, "its creator hung up"))

    async def _start(self, session: Session) -> None:
        try:
            session.pid, commands, events = await self.link.spawn(session.key, session.limits)
        except StartFailed:
            self._by_key.pop(session.key)  # the supervisor removes what there was, unasked
            session.is_gone.set()
            raise
        session.browser = Browser(commands, events, lambda: self._on_pipe_end(session))
        session.browser.on_crash = lambda crash: self._later(self._explain_crash(session, crash))
        timeout_s = self.settings.start_timeout_s
        await session.browser.call("Browser.getVersion", timeout_s=timeout_s)
        await session.browser.call("Target.setDiscoverTargets", _DISCOVERY, timeout_s=timeout_s)
        if session.state is State.STARTING:
            session.move(State.READY)

    async def _give_up(self, session: Session, why: str, remedy: str = "") -> None:
        """Ends a session that never came to be, and raises why."""
        if session.key in self._by_key:
            await self.end(session, Reason.START_FAILED, why)
        elif session.begin_end(Reason.START_FAILED, why):
            session.finish(Usage())
            self._keep(session)
        words = session.exit.stderr.strip()[-1000:] if session.exit else ""
        said = f" Chrome's last words: {words}" if words else ""
        detail = (session.detail or why).rstrip(".")
        raise StartFailed(f"Chrome did not start: {detail}.{said}", remedy=remedy)

    # -- ending --

    async def end(self, session: Session, reason: Reason, detail: str) -> None:
        """Ends a session. When it returns, every process, cgroup and file of it is gone.

        May be called again and by several at once; the first reason stays. Escalates from
        ``Browser.close`` to SIGTERM to SIGKILL of the whole group.
        """
        if session.begin_end(reason, detail):
            self._close_clients(session, GOING_AWAY)
            self._later(self._escalate(session))  # goes on even if the caller is cancelled
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
                    log.debug("session %d: Browser.close: %s", session.key, error)
                await session.is_gone.wait()
        except TimeoutError:
            log.warning("session %d: Chrome does not close; SIGTERM", session.key)
            return False
        return True

    def _close_clients(self, session: Session, code: int) -> None:
        if session.browser is not None:
            for client in list(session.browser.clients):
                client.end(code, f"session ended: {session.reason} ({session.detail})")

    def end_by_client(self, session: Session) -> None:
        """A client has sent ``Browser.close``: the session goes, even if Chrome won't hear it."""
        self._later(self._end_after_answer(session))

    async def _end_after_answer(self, session: Session) -> None:
        """Chrome answers the command before it goes, and the client is owed that answer."""
        try:
            async with asyncio.timeout(self.settings.close_timeout_s):
                await session.is_gone.wait()
        except TimeoutError:
            await self.end(session, Reason.CLIENT_CLOSED, "a client closed the browser")

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end_all(self, timeout_s: float) -> None:
        """Ends every session for the daemon's shutdown, within ``timeout_s``."""
        self.stopping = True
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(
                *(
                    self.end(session, Reason.SHUTDOWN, "the daemon is stopping")
                    for session in list(self._by_key.values())
                )
            )

    # -- what the supervisor and the pipe tell --

    async def _explain_crash(self, session: Session, crash: Crash) -> None:
        """A tab crashed: if the kernel has killed a process for memory since, that is why."""
        killed = (await self.usage(session)).oom_kills or 0
        if killed > session.oom_kills_seen or crash.status == "oom":
            crash.reason = Reason.OUT_OF_MEMORY
        session.oom_kills_seen = max(killed, session.oom_kills_seen)
        log.warning("session %d: a tab ended: %s (%s)", session.key, crash.reason, crash.status)

    def _on_pipe_end(self, session: Session) -> None:
        """Chrome closed its pipe, most likely by dying: Exited tells how. It gets no second try."""
        if session.key in self._by_key:
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
        fault = reason is not Reason.CLIENT_CLOSED
        if session.begin_end(reason, detail):
            self._close_clients(session, INTERNAL_ERROR if fault else GOING_AWAY)
        if session.browser is not None:
            session.browser.close(f"The session ended: {session.detail}.")

    def gone(self, key: int, usage: Usage) -> None:
        session = self._by_key.pop(key, None)
        if session is not None:
            session.begin_end(Reason.START_FAILED, "it never started")
            session.finish(usage)
            self._keep(session)

    def _keep(self, session: Session) -> None:
        if session.browser is not None:
            session.crashes = session.browser.crashes
            session.browser = None
        self._ended.append(session)
        if len(self._ended) > _KEPT:
            self._sessions.pop(self._ended.popleft().id, None)

    def shutdown(self, timeout_s: float) -> None:
        self.on_shutdown(timeout_s)

    def orphaned(self) -> None:
        log.critical("the supervisor is gone")
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
