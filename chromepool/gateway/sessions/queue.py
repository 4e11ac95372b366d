"""The queue of callers for a slot, in the order of arrival."""

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Iterator

from chromepool.config import Settings
from chromepool.errors import ChromepoolError, NoMemory, PoolFull, QueueFull, RateLimited
from chromepool.gateway.capacity.admission import RETRY_S, Decision, Grant
from chromepool.gateway.capacity.ratelimit import RateLimiter
from chromepool.gateway.spec import SessionSpec


@dataclasses.dataclass(eq=False)
class Waiter:
    """A caller in the queue."""

    spec: SessionSpec
    since: float
    granted: asyncio.Future[None]

    @property
    def has_slot(self) -> bool:
        """True once the slot is granted, unless the caller hung up before."""
        granted = self.granted
        return granted.done() and not granted.cancelled() and granted.exception() is None


@dataclasses.dataclass(eq=False)
class SlotQueue:
    """Grants slots to callers, refuses them, or lets them wait. A granted slot is *held* from that
    very moment until the creation is over, so that no slot is given twice or lost."""

    settings: Settings
    clock: Callable[[], float]
    decide: Callable[[SessionSpec], Decision]
    """Called about each caller, and again when a slot may have become free."""
    on_waited: Callable[[float], None] = lambda seconds: None
    """Called with the seconds that each caller was in the queue."""
    held: int = 0
    """Slots held for creations under way."""

    def __post_init__(self) -> None:
        self._rate = RateLimiter(self.settings.creations_per_minute)
        self._queue: collections.deque[Waiter] = collections.deque()

    @property
    def waiting(self) -> int:
        """Number of callers in the queue."""
        return len(self._queue)

    def waiters(self) -> Iterator[tuple[int, Waiter]]:
        """The queue with each caller's position; 1 is the next."""
        return enumerate(self._queue, 1)

    def refusal(self, spec: SessionSpec) -> ChromepoolError | None:
        """The refusal that a caller would get who does not wait; None: there is a slot."""
        refusal = self._refusal(spec)
        if refusal is not None or not self._queue:
            return refusal
        said = "Others wait for a slot already."
        return PoolFull(said, remedy="Wait as well: ?wait=30.", retry_after_s=RETRY_S)

    async def enter(self, spec: SessionSpec, wait_s: float) -> None:
        """Hold a slot for ``spec``, after up to ``wait_s`` seconds; :meth:`leave` gives it back.
        Raises :class:`RateLimited`, :class:`QueueFull`, and the refusal where there is no slot."""
        self._take_token(spec.owner)
        try:
            refusal = self.refusal(spec)
            if refusal is None:
                self.held += 1
            elif wait_s > 0 and isinstance(refusal, PoolFull | NoMemory):
                await self._line_up(spec, min(wait_s, self.settings.queue_wait_s))
            else:
                raise refusal
        except BaseException:
            self._rate.give_back(spec.owner)
            raise

    def _refusal(self, spec: SessionSpec) -> ChromepoolError | None:
        decision = self.decide(spec)
        return None if isinstance(decision, Grant) else decision.error

    def _take_token(self, owner: str) -> None:
        pause_s = self._rate.take(owner, self.clock())
        if pause_s:
            said = f"A client may create {self._rate.per_minute:g} sessions a minute."
            remedy = "Use a session for longer, or have creations_per_minute raised."
            raise RateLimited(said, remedy=remedy, retry_after_s=pause_s)

    async def _line_up(self, spec: SessionSpec, wait_s: float) -> None:
        if len(self._queue) >= self.settings.queue_length:
            said = f"{len(self._queue)} callers wait already."
            remedy = "Try again later, or have queue_length raised."
            raise QueueFull(said, remedy=remedy, retry_after_s=RETRY_S)
        waiter = Waiter(spec, self.clock(), asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                await waiter.granted
        except TimeoutError:
            if not waiter.has_slot:
                raise self._late(spec, wait_s) from None
        except asyncio.CancelledError:
            if waiter.has_slot:  # the grant came at the moment the caller hung up
                self.leave()
            raise
        finally:
            self.on_waited(self.clock() - waiter.since)
            if waiter in self._queue:
                self._queue.remove(waiter)
                self.pump()  # the caller behind may need less than this one did

    def _late(self, spec: SessionSpec, wait_s: float) -> ChromepoolError:
        refusal = self._refusal(spec) or PoolFull("", remedy="Try again.")
        what = "memory" if isinstance(refusal, NoMemory) else "slot"
        said = f"No {what} became free within {wait_s:g} s."
        return type(refusal)(said, remedy=refusal.remedy, retry_after_s=RETRY_S)

    def leave(self) -> None:
        """Give a slot back: the creation is over, and its session counts by itself now."""
        self.held -= 1
        self.pump()

    def pump(self) -> None:
        """Grant free slots to the callers who came first, and refuse those who wait in vain."""
        while self._queue:
            waiter = self._queue[0]
            if waiter.granted.done():  # the caller has just hung up
                self._queue.popleft()
                continue
            refusal = self._refusal(waiter.spec)
            if isinstance(refusal, PoolFull | NoMemory):
                return
            self._queue.popleft()
            if refusal is None:
                self.held += 1
                waiter.granted.set_result(None)
            else:
                waiter.granted.set_exception(refusal)

    def sweep(self) -> None:
        """Forget idle clients' rates, and pump: memory may be free without a session's end."""
        self._rate.forget(self.clock())
        self.pump()
