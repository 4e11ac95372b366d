"""Creating a session: a slot, a Chrome, the session's options."""

from __future__ import annotations

import asyncio

from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.admission import Admission
from chromepool.gateway.sessions.creation_stats import CreationStats
from chromepool.gateway.sessions.events import SweepDue
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.sessions.starter import Starter
from chromepool.gateway.sessions.warm_pool import WarmPool
from chromepool.gateway.spec import SessionSpec

_POLL_S = 0.01


class Creation:
    """Creates sessions for callers, with a warm Chrome where one suits."""

    def __init__(
        self,
        runtime: Runtime,
        admission: Admission,
        warm_pool: WarmPool,
        starter: Starter,
        stats: CreationStats,
    ) -> None:
        self._runtime = runtime
        self._admission = admission
        self._warm_pool = warm_pool
        self._starter = starter
        self._stats = stats

    async def create(self, spec: SessionSpec, wait_s: float = 0.0) -> Session:
        """A session that is ready to be driven.

        Raises at once, or after ``wait_s``, the refusal where there is no slot:
        :class:`RateLimited`, :class:`PoolFull`, :class:`QueueFull`, :class:`NoMemory`,
        :class:`CircuitOpen`, and what closed the gate. Raises :class:`StartFailed`,
        :class:`ProfileInUse` or :class:`InvalidRequest` where no Chrome comes up; nothing is left
        of the session then.
        """
        clock = self._runtime.clock
        with self._stats.refusals():
            await self._admission.queue.enter(spec, wait_s)
            began = clock()
            self._admission.autoscale.note_creation(began)
            try:
                session = await self._get_chrome(spec)
                session.held = False
            finally:
                self._admission.queue.leave()
                self._runtime.bus.publish(SweepDue())
                self._warm_pool.refill()
        self._stats.created(clock() - began, warm=session.warm)
        return session

    async def _get_chrome(self, spec: SessionSpec) -> Session:
        """A warm Chrome that suits, or a new one after warm ones have made room."""
        session = await self._warm_pool.claim(spec)
        if session is not None:
            return session
        await self._warm_pool.make_room()
        self._admission.check_start()
        return await self._starter.start(spec)

    async def settle(self, timeout_s: float) -> None:
        """Wait until no creation is under way, or for ``timeout_s``."""
        deadline = self._runtime.clock() + timeout_s
        while self._admission.queue.held and self._runtime.clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
