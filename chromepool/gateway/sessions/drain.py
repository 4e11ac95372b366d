"""Draining: no new sessions, until the last of those that run has ended."""

import asyncio
import contextlib

from chromepool import wire
from chromepool.errors import Draining
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import is_set
from chromepool.gateway.sessions.events import SweepDue
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_RETRY_S = 30.0
_LOOK_S = 60.0


class Drainer:
    """Begins a drain, sees to its end, and takes it back; the next gateway continues it."""

    def __init__(self, pool: Pool, drain: wire.Drain | None) -> None:
        """``drain`` is the drain that an earlier gateway has begun."""
        self._runtime = pool.runtime
        self._pool = pool
        self.now: wire.Drain | None = None
        """The drain under way."""
        self._changed = asyncio.Event()
        if drain is not None:
            self._enter(drain)

    def begin(self, deadline_s: float | None, *, leave: bool) -> None:
        """Refuse new sessions from now on, and end those that still run in ``deadline_s`` seconds;
        with ``leave`` the daemon exits after the last. May be called again, with other values."""
        deadline = None if deadline_s is None else self._runtime.clock() + deadline_s
        drain = wire.Drain(True, deadline, leave)
        self._enter(drain)
        self._runtime.supervisor.send(drain)
        log.info("daemon.draining", deadline_s=deadline_s, leave=leave)
        self._runtime.events.emit("daemon.draining", deadline_s=deadline_s, leave=leave)

    def _enter(self, drain: wire.Drain) -> None:
        self.now = drain
        then = ", and exits after the last one" if drain.leave else ""
        said = f"The daemon drains and takes no new sessions{then}."
        remedy = "Use another daemon, or have this one go on: `chromepool drain --cancel`."
        self._pool.gate.close(Draining(said, remedy=remedy, retry_after_s=_RETRY_S))
        self.wake()
        self._runtime.bus.publish(SweepDue())  # warm Chromes are ended

    def cancel(self) -> None:
        """Allow new sessions again. May be called twice."""
        if self.now is None:
            return
        self.now = None
        self._pool.gate.reopen()
        self._runtime.supervisor.send(wire.Drain(on=False))
        self.wake()
        self._runtime.bus.publish(SweepDue())
        log.info("daemon.not_draining")
        self._runtime.events.emit("daemon.not_draining")

    def left(self) -> list[Session]:
        """The sessions with an owner of which something is left."""
        return [session for session in self._pool.registry.chromes if session.owner != POOL]

    def wake(self, _: object = None) -> None:
        """Wake everybody who waits; a change from here on is for those who wait then."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def settled(self, timeout_s: float) -> None:
        """Wait until no session is left, the drain is taken back, or ``timeout_s`` have passed;
        raise what closed the gate when the gateway leaves before: no caller may delay that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.now is not None and self.left():
                    closed = self._pool.gate.closed
                    if closed is not None and not isinstance(closed, Draining):
                        raise closed
                    await self._changed.wait()

    async def run(self) -> None:
        """See to the drain until the gateway ends."""
        while True:
            changed = self._changed
            pause_s = _LOOK_S if self.now is None else self._step(self.now)
            await is_set(changed, pause_s)

    def _step(self, drain: wire.Drain) -> float:
        """Do what is due; return the seconds until there may be more."""
        left = self.left()
        if not left and drain.leave:
            self._runtime.supervisor.send(wire.Leave())
        if not left or drain.deadline is None:
            return _LOOK_S
        pause_s = drain.deadline - self._runtime.clock()
        if pause_s > 0:
            return min(_LOOK_S, pause_s)
        for session in left:
            if session.state not in (State.CLOSING, State.CLOSED):
                why = "the daemon drained, and its time was up"
                self._pool.termination.end_later(session, Reason.DRAINED, why)
        return _LOOK_S
