"""Chromes started ahead: each is used once, by one client, or by none."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable

from chromepool.errors import ChromepoolError
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions import handshake
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

SETTLE_S = 1.0
"""From the start until it is frozen: frozen any sooner, a Chrome has its start to finish when it
is thawed, and takes 3 to 9 ms for its first answer instead of 1.5 (measured)."""
REFILL_S = 0.5
"""A pause before the next is started, so that a start does not take the CPU from the session that
has just begun."""


class WarmPool:
    """Keeps Chromes ready: ``warm_sessions``, or as many as :attr:`wanted` says."""

    def __init__(
        self,
        manager: Manager,
        start: Callable[[SessionSpec], Awaitable[Session]],
        may_start: Callable[[], bool],
        crowded: Callable[[], bool],
    ) -> None:
        """``start`` gives a session that is ready; ``may_start`` tells whether there is a place and
        the memory for one more that nobody has asked for; ``crowded``, whether there are more by
        now than there may be."""
        self._manager, self._start = manager, start
        self._may_start, self._crowded = may_start, crowded
        self._waiting: collections.deque[Session] = collections.deque()
        self._filling = False
        self.wanted: Callable[[], int] = lambda: manager.settings.warm_sessions
        """How many there are to be."""
        self.taken = 0
        """How many sessions began with one of them."""

    @property
    def waiting(self) -> int:
        """How many are ready."""
        return len(self._waiting)

    def standard(self) -> SessionSpec:
        """What they are started with."""
        return SessionSpec(POOL, self._manager.settings.session_limits)

    def suits(self, spec: SessionSpec) -> bool:
        """Whether one of them could become this session at once."""
        return any(spec.suits_warm(session.limits) for session in self._waiting)

    def take(self, spec: SessionSpec) -> Session | None:
        """One for this session: out of the pool from here on. It has to be woken."""
        for session in self._waiting:
            if spec.suits_warm(session.limits):
                self._waiting.remove(session)
                self.taken += 1
                return session
        return None

    def take_any(self) -> Session | None:
        """One whose place is needed, to be ended."""
        return self._waiting.popleft() if self._waiting else None

    def forget(self, session: Session) -> None:
        """It has ended while it waited."""
        if session in self._waiting:
            self._waiting.remove(session)

    async def wake(self, session: Session, spec: SessionSpec) -> bool:
        """Makes a taken one its new owner's; False when it does not live any more."""
        if session.state is State.FROZEN:
            session.move(State.READY)
        self._manager.link.thaw(session.key, spec.limits)
        if session.browser is None:
            return False
        # At the same time: the supervisor counts while Chrome gets to its feet.
        session.usage, alive = await asyncio.gather(
            self._manager.usage(session), handshake.check(session, session.browser)
        )
        if alive and session.state is State.READY:
            session.claim(spec)
            self._manager.created(session)
            return True
        return False

    def surplus(self) -> Session | None:
        """One more than is wanted (any longer), taken out to be ended."""
        settings = self._manager.settings
        stale = [s for s in self._waiting if s.limits != settings.session_limits]
        if stale:
            self._waiting.remove(stale[0])
            return stale[0]
        return self.take_any() if len(self._waiting) > self.wanted() else None

    def refill(self, pause_s: float = REFILL_S) -> None:
        """Starts what is missing, in the background, one after the other."""
        if not self._filling and self._lacks():
            self._filling = True
            self._manager.later(self._fill(pause_s))

    def _lacks(self) -> bool:
        return self.waiting < self.wanted() and self._may_start()

    async def _fill(self, pause_s: float) -> None:
        try:
            await asyncio.sleep(pause_s)
            while self._lacks():
                self._park(await self._start(self.standard()))
        except ChromepoolError as error:  # the next sweep tries again
            log.warning("warm.not_started", error=error)
        finally:
            self._filling = False

    def adopt(self, session: Session) -> None:
        """One that an earlier gateway had started ahead."""
        self._park(session)

    def _park(self, session: Session) -> None:
        if self._crowded():  # its place was taken while it started
            why = "its place was needed"
            self._manager.later(self._manager.end(session, Reason.DRAINED, why))
            return
        self._waiting.append(session)
        if self._manager.host.freezer:
            self._manager.later(self._freeze(session))

    async def _freeze(self, session: Session) -> None:
        await asyncio.sleep(SETTLE_S)
        if session in self._waiting and session.state is State.READY:
            session.move(State.FROZEN)
            self._manager.link.freeze(session.key)
