"""The warm pool: Chromes that are started before anybody asks for a session."""

import asyncio
import dataclasses

from chromepool import wire
from chromepool.errors import ChromepoolError, InvalidRequest
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions import connection
from chromepool.gateway.sessions.admission import Admission
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.sessions.starter import Starter
from chromepool.gateway.sessions.termination import Termination
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

SETTLE_S = 1.0
"""Seconds from the start of a Chrome until it is frozen. Frozen sooner, it has its start to finish
once it is thawed, and takes 3 to 9 ms for its first answer instead of 1.5 (measured)."""
REFILL_S = 0.5
"""Seconds before the next one is started, so that a start does not take the CPU from the session
that has just begun."""


@dataclasses.dataclass(eq=False)
class WarmPool:
    """Fills up the warm Chromes, freezes them, and hands them out."""

    runtime: Runtime
    admission: Admission
    starter: Starter
    termination: Termination
    _filling: bool = False

    async def claim(self, spec: SessionSpec) -> Session | None:
        """A warm Chrome with its new owner's options, None where none suits or none lives; raises
        :class:`InvalidRequest` where Chrome refuses an option."""
        while session := self.admission.warm.take(spec):
            session.held = True
            try:
                if await self._wake(session, spec):
                    return session
            except InvalidRequest as error:
                await self.termination.discard(session, error.detail)
                raise
            except ChromepoolError as error:
                log.warning("session.not_woken", session=session.key, error=error)
            except BaseException:  # the caller hung up
                self.termination.abandon(session)
                raise
            session.held = False
            why = "it did not answer when it was woken"
            self.termination.end_later(session, Reason.UNHEALTHY, why)
        return None

    async def _wake(self, session: Session, spec: SessionSpec) -> bool:
        """Thaw a Chrome and give it to its owner; False when it does not answer."""
        if session.state is State.FROZEN:
            session.move(State.READY)
        self.runtime.supervisor.send(wire.Thaw(session.key, spec.limits))
        browser = session.browser
        if browser is None or not await connection.ping(session, browser):
            return False
        if session.state is not State.READY:
            return False
        session.claim(spec)
        await connection.apply_options(session, browser, spec)
        return True

    def refill(self, pause_s: float = REFILL_S) -> None:
        """Start missing Chromes in the background, one after the other, after a pause."""
        if not self._filling and self.admission.may_start_ahead():
            self._filling = True
            self.runtime.tasks.start(self._fill(pause_s))

    async def _fill(self, pause_s: float) -> None:
        standard = SessionSpec(POOL, self.runtime.settings.session_limits)
        try:
            await asyncio.sleep(pause_s)
            while self.admission.may_start_ahead():
                self.add(await self.starter.start_once(standard))
        except ChromepoolError as error:  # the next sweep tries again
            log.warning("warm.not_started", error=error)
        finally:
            self._filling = False

    def add(self, session: Session) -> None:
        """Keep a session without an owner, frozen soon, unless its slot was taken meanwhile."""
        if self.admission.is_crowded():
            self.termination.end_later(session, Reason.DRAINED, "its place was needed")
            return
        self.admission.warm.append(session)
        if self.runtime.host.freezer:
            self.runtime.tasks.start(self._freeze(session))

    async def _freeze(self, session: Session) -> None:
        await asyncio.sleep(SETTLE_S)
        if session in self.admission.warm and session.state is State.READY:
            session.move(State.FROZEN)
            self.runtime.supervisor.send(wire.Freeze(session.key))

    async def make_room(self) -> None:
        """End warm Chromes while their slots or their memory are needed for a session."""
        while self.admission.needs_room() and self.admission.warm:
            session = self.admission.warm.popleft()
            await self.termination.end(session, Reason.DRAINED, "its place was needed")

    def end_surplus(self) -> None:
        """End warm Chromes beyond the number wanted, and those with limits of other settings."""
        standard = self.runtime.settings.session_limits
        why = "the pool wants fewer in reserve, or others"
        stale = [session for session in self.admission.warm if session.limits != standard]
        others = [session for session in self.admission.warm if session.limits == standard]
        beyond = max(0, len(others) - self.admission.warm_wanted)
        for session in stale + others[:beyond]:
            self.admission.warm.remove(session)
            self.termination.end_later(session, Reason.DRAINED, why)
