"""The sweep: sessions past a deadline, records past their time, callers who wait for memory."""

from __future__ import annotations

import asyncio

from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.admission import Admission
from chromepool.gateway.sessions.registry import SessionRegistry
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.sessions.termination import Termination
from chromepool.gateway.sessions.warm_pool import WarmPool
from chromepool.model import Reason

log = get_logger("chromepool.gateway.sessions")

SWEEP_S = 60.0
_QUEUE_S = 1.0
"""Seconds between sweeps while callers wait: memory may become free without a session's end."""
_SHORTEST_S = 0.01


def overdue(session: Session, now: float) -> tuple[Reason, str] | None:
    """The reason and detail of the deadline that a session has passed, if any."""
    for due, reason, detail in session.deadlines():
        if now >= due:
            return reason, detail
    return None


class Deadlines:
    """Sweeps every minute, at each deadline, and when asked to."""

    def __init__(
        self,
        runtime: Runtime,
        registry: SessionRegistry,
        admission: Admission,
        warm_pool: WarmPool,
        termination: Termination,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._queue = admission.queue
        self._warm_pool = warm_pool
        self._termination = termination
        self._due = asyncio.Event()

    def wake(self, _: object = None) -> None:
        """Sweep soon: an event may have brought a deadline nearer."""
        self._due.set()

    def sweep(self) -> None:
        """End overdue sessions, forget old ones, and fill or empty the warm pool."""
        now = self._runtime.clock()
        for session in self._registry.chromes:
            over = overdue(session, now)
            if over is not None:
                self._termination.end_later(session, *over)
            if session.artifacts is not None:
                session.artifacts.trim()
        self._registry.forget_ended()
        self._queue.sweep()
        self._warm_pool.end_surplus()
        self._warm_pool.refill()

    def next_due(self) -> float:
        """The time of the next sweep (monotonic seconds)."""
        now = self._runtime.clock()
        dues = [due for session in self._registry.chromes for due, _, _ in session.deadlines()]
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
            pause_s = max(_SHORTEST_S, self.next_due() - self._runtime.clock())
            try:
                async with asyncio.timeout(pause_s):
                    await self._due.wait()
            except TimeoutError:
                continue
