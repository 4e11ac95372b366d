"""Draining: no new sessions, until the last of those that run has ended."""

from __future__ import annotations

import asyncio
import contextlib

from chromepool import wire
from chromepool.errors import Draining
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.events import Event
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_RETRY_S = 30.0
_LOOK_S = 60.0
_TELLING = {"session.closed", "daemon.stopping", "gateway.leaving"}
"""Events after which more may be due, or nothing more will come of it here."""


class Drainer:
    """Begins it, sees to its end, and takes it back. A gateway that is replaced goes on with it."""

    def __init__(self, manager: Manager, creator: Creator, told: wire.Drain | None) -> None:
        """``told``: what the gateway before was at."""
        self._manager, self._creator = manager, creator
        self.now: wire.Drain | None = None
        """What goes on."""
        self._changed = asyncio.Event()
        manager.events.watch(self._on_event)
        if told is not None:
            self._enter(told)

    def begin(self, deadline_s: float | None, *, leave: bool) -> None:
        """No new sessions from here on. Those that still run in ``deadline_s`` are ended then; with
        ``leave`` the daemon exits once there are none. May be called again, with other wishes."""
        deadline = None if deadline_s is None else self._manager.clock() + deadline_s
        self._enter(wire.Drain(True, deadline, leave))
        assert self.now is not None
        self._manager.link.drain(self.now)
        log.info("daemon.draining", deadline_s=deadline_s, leave=leave)
        self._manager.events.emit("daemon.draining", deadline_s=deadline_s, leave=leave)

    def _enter(self, drain: wire.Drain) -> None:
        self.now = drain
        then = ", and exits after the last one" if drain.leave else ""
        self._manager.close(
            Draining(
                f"The daemon drains and takes no new sessions{then}.",
                remedy="Use another daemon, or have this one go on: `chromepool drain --cancel`.",
                retry_after_s=_RETRY_S,
            )
        )
        self._tell()
        self._creator.on_change()  # those that wait for an owner go

    def cancel(self) -> None:
        """Sessions are made again. May be called twice."""
        if self.now is None:
            return
        self.now = None
        self._manager.open()
        self._manager.link.drain(wire.Drain(on=False))
        self._tell()
        self._creator.on_change()
        log.info("daemon.not_draining")
        self._manager.events.emit("daemon.not_draining")

    def left(self) -> list[Session]:
        """Sessions of somebody's of which something is left."""
        return [session for session in self._manager.chromes if session.owner != POOL]

    def _on_event(self, event: Event) -> None:
        if event.name in _TELLING:
            self._tell()

    def _tell(self) -> None:
        """Wakes all that wait; what changes from here on is for those that wait then."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def settled(self, timeout_s: float) -> None:
        """Returns when no session is left, when the drain is taken back, or after ``timeout_s``.

        Raises what :attr:`Manager.closed` says when the gateway leaves before: nothing more is to
        be seen here then, and its callers are not to keep it.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.now is not None and self.left():
                    closed = self._manager.closed
                    if closed is not None and not isinstance(closed, Draining):
                        raise closed
                    await self._changed.wait()

    async def run(self) -> None:
        """Sees to it for as long as the gateway lives."""
        while True:
            changed = self._changed
            pause_s = _LOOK_S if self.now is None else self._step(self.now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await changed.wait()

    def _step(self, drain: wire.Drain) -> float:
        """What is due; seconds until there may be more."""
        left, now = self.left(), self._manager.clock()
        if not left:
            if drain.leave:
                self._manager.link.leave()
            return _LOOK_S
        if drain.deadline is None:
            return _LOOK_S
        if now < drain.deadline:
            return min(_LOOK_S, drain.deadline - now)
        for session in left:
            if session.state not in (State.CLOSING, State.CLOSED):
                why = "the daemon drained, and its time was up"
                self._manager.later(self._manager.end(session, Reason.DRAINED, why))
        return _LOOK_S
