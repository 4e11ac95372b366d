"""The sweep: sessions past a deadline, records past their time, callers who wait for memory."""

import asyncio

from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import is_set
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason

log = get_logger("chromepool.gateway.sessions")

SWEEP_S = 60.0
_QUEUE_S = 1.0
"""Seconds between sweeps while callers wait: memory may become free without a session's end."""
_SHORTEST_S = 0.01


def overdue(session: Session, now: float) -> tuple[Reason, str] | None:
    """The reason and detail of the deadline that a session has passed, if any."""
    passed = ((reason, detail) for due, reason, detail in session.deadlines() if now >= due)
    return next(passed, None)


class Deadlines:
    """Sweeps every minute, at each deadline, and when asked to."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._clock = pool.runtime.clock
        self._queue = pool.admission.queue
        self._due = asyncio.Event()

    def wake(self, _: object = None) -> None:
        """Sweep soon: an event may have brought a deadline nearer."""
        self._due.set()

    def sweep(self) -> None:
        """End overdue sessions, forget old ones, and fill or empty the warm pool."""
        now = self._clock()
        for session in self._pool.registry.chromes:
            over = overdue(session, now)
            if over is not None:
                self._pool.termination.end_later(session, *over)
            if session.artifacts is not None:
                session.artifacts.trim()
        self._pool.registry.forget_ended()
        self._queue.sweep()
        self._pool.warm_pool.end_surplus()
        self._pool.warm_pool.refill()

    def next_due(self) -> float:
        """The time of the next sweep (monotonic seconds)."""
        now = self._clock()
        dues = [due for session in self._pool.registry.chromes for due, _, _ in session.deadlines()]
        if self._queue.waiting:
            dues.append(now + _QUEUE_S)
        return min([now + SWEEP_S, *dues])

    async def run(self) -> None:
        """Sweep until the gateway ends."""
        while True:
            try:
                self.sweep()
            except Exception:  # a sweep that fails once must not end all deadlines
                log.exception("sweep.failed")
            self._due.clear()
            await is_set(self._due, max(_SHORTEST_S, self.next_due() - self._clock()))
