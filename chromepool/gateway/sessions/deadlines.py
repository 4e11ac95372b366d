"""What is due with time: sessions that are over, records that are old, places to fill."""

from __future__ import annotations

import asyncio

from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason

log = get_logger("chromepool.gateway.sessions")

SWEEP_S = 60.0
_QUEUE_S = 1.0
"""While callers wait: memory may become free without a session's end."""
_SHORTEST_S = 0.01


def overdue(session: Session, now: float) -> tuple[Reason, str] | None:
    """Why a session is over by now, if it is."""
    for due, reason, detail in session.deadlines():
        if now >= due:
            return reason, detail
    return None


class Sweeper:
    """Sweeps every minute, and when a deadline comes."""

    def __init__(self, manager: Manager, creator: Creator) -> None:
        self._manager, self._creator = manager, creator
        self._changed = asyncio.Event()
        creator.on_change = self._changed.set

    def sweep(self) -> None:
        """Ends what is overdue, forgets what ended long ago, fills up what is missing."""
        manager, warm = self._manager, self._creator.warm
        now = manager.clock()
        for session in manager.chromes:
            over = overdue(session, now)
            if over is not None:
                manager.later(manager.end(session, *over))
            if session.artifacts is not None:
                session.artifacts.trim()
        manager.forget_old()
        self._creator.admission.sweep()
        while surplus := warm.surplus():
            why = "the pool wants fewer in reserve, or others"
            manager.later(manager.end(surplus, Reason.DRAINED, why))
        warm.refill()

    def next_due(self) -> float:
        """When to sweep again, in monotonic seconds."""
        now = self._manager.clock()
        dues = [due for session in self._manager.chromes for due, _, _ in session.deadlines()]
        if self._creator.admission.waiting:
            dues.append(now + _QUEUE_S)
        return min([now + SWEEP_S, *dues])

    async def run(self) -> None:
        """Sweeps for as long as the gateway lives."""
        while True:
            try:
                self.sweep()
            except Exception:  # or nothing would ever time out again
                log.exception("sweep.failed")
            self._changed.clear()
            pause_s = max(_SHORTEST_S, self.next_due() - self._manager.clock())
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                continue
