"""Creating a session: a slot, a Chrome, the session's options."""

import asyncio
import collections
import dataclasses

from chromepool.errors import ChromepoolError
from chromepool.gateway.histogram import Histogram
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.admission import Admission
from chromepool.gateway.sessions.events import SweepDue
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.sessions.starter import Starter
from chromepool.gateway.sessions.warm_pool import WarmPool
from chromepool.gateway.spec import SessionSpec

_CREATION_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAIT_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_POLL_S = 0.01


class CreationStats:
    """Durations and refusals, read by the metrics and never reset."""

    def __init__(self) -> None:
        self.cold = Histogram(_CREATION_S)
        """Seconds from the slot until a session with a new Chrome was ready."""
        self.warm = Histogram(_CREATION_S)
        """Seconds from the slot until a session with a warm Chrome was ready."""
        self.waited = Histogram(_WAIT_S)
        """Seconds in the queue, of callers who had to wait, whether they got a slot or not."""
        self.refused: collections.Counter[str] = collections.Counter()
        """Refusals by the code of the problem."""


@dataclasses.dataclass(frozen=True, slots=True)
class Creation:
    """Creates sessions for callers, with a warm Chrome where one suits."""

    runtime: Runtime
    admission: Admission
    warm_pool: WarmPool
    starter: Starter
    stats: CreationStats

    async def create(self, spec: SessionSpec, wait_s: float = 0.0) -> Session:
        """A session that is ready to be driven.

        Raises at once, or after ``wait_s``, the refusal where there is no slot
        (:class:`RateLimited`, :class:`PoolFull`, :class:`QueueFull`, :class:`NoMemory`,
        :class:`CircuitOpen`, what closed the gate), and leaves nothing where no Chrome comes up:
        :class:`StartFailed`, :class:`ProfileInUse`, :class:`InvalidRequest`."""
        try:
            await self.admission.queue.enter(spec, wait_s)
            return await self._create(spec)
        except ChromepoolError as error:
            self.stats.refused[error.code] += 1
            raise

    async def _create(self, spec: SessionSpec) -> Session:
        began = self.runtime.clock()
        self.admission.autoscale.note_creation(began)
        try:
            session = await self.warm_pool.claim(spec)
            if session is None:
                await self.warm_pool.make_room()
                self.admission.check_start()
                session = await self.starter.start(spec)
            session.held = False
        finally:
            self.admission.queue.leave()
            self.runtime.bus.publish(SweepDue())
            self.warm_pool.refill()
        took_s = self.runtime.clock() - began
        (self.stats.warm if session.warm else self.stats.cold).add(took_s)
        return session

    async def settle(self, timeout_s: float) -> None:
        """Wait until no creation is under way, or for ``timeout_s``."""
        deadline = self.runtime.clock() + timeout_s
        while self.admission.queue.held and self.runtime.clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
