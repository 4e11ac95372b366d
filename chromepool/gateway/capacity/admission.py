"""Who gets a place, who waits for one, and who is told at once that there is none."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator

from chromepool.config import Settings
from chromepool.errors import ChromepoolError, NoMemory, PoolFull, QueueFull, RateLimited
from chromepool.gateway.capacity.ratelimit import RateLimiter
from chromepool.gateway.spec import SessionSpec

_RETRY_S = 5.0


@dataclasses.dataclass(eq=False)
class Waiter:
    """A caller in the queue."""

    number: int
    spec: SessionSpec
    since: float
    granted: asyncio.Future[None]


class Admission:
    """Places, in the order of arrival.

    A place that was granted is *held* from that very moment until the creation it was granted for
    is over, so that nobody can slip in between, and none is lost when a caller hangs up.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Callable[[], float],
        refusal: Callable[[SessionSpec], ChromepoolError | None],
        on_waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``refusal(order)`` says why there is no place for it now, None when there is one;
        ``on_waited`` is told how long each caller was in the queue."""
        self._settings, self._clock, self._refusal = settings, clock, refusal
        self._on_waited = on_waited
        self._buckets = RateLimiter()
        self._queue: collections.deque[Waiter] = collections.deque()
        self._numbers = itertools.count(1)
        self.held = 0
        """Places that are promised to creations under way."""

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._queue)

    def places(self) -> Iterator[tuple[int, Waiter]]:
        """The queue: 1 is the next."""
        return enumerate(self._queue, 1)

    def behind_others(self) -> PoolFull | None:
        """What a caller who does not wait is told while others do."""
        if not self._queue:
            return None
        said = "Others wait for a place already."
        return PoolFull(said, remedy="Wait as well: ?wait=30.", retry_after_s=_RETRY_S)

    async def enter(self, spec: SessionSpec, wait_s: float) -> None:
        """Holds a place for ``spec``, to be given back with :meth:`leave`.

        Waits for one up to ``wait_s``, 0 is not at all. Raises :class:`RateLimited`, and what
        ``refusal`` says when there is none, or :class:`QueueFull`.
        """
        settings = self._settings()
        self._take_token(spec.owner, settings)
        try:
            refusal = self._refusal(spec)
            if refusal is None and not self._queue:
                self.held += 1
                return
            if refusal is not None and not isinstance(refusal, PoolFull | NoMemory):
                raise refusal
            if wait_s <= 0:
                raise refusal or self.behind_others() or PoolFull("")
            await self._line_up(spec, min(wait_s, settings.queue_wait_s), settings.queue_length)
        except BaseException:
            self._buckets.give_back(spec.owner)
            raise

    def _take_token(self, owner: str, settings: Settings) -> None:
        per_minute = settings.creations_per_minute
        pause_s = self._buckets.take(owner, self._clock(), per_minute)
        if pause_s:
            raise RateLimited(
                f"A client may create {per_minute:g} sessions a minute.",
                remedy="Use a session for longer, or have creations_per_minute raised.",
                retry_after_s=pause_s,
            )

    async def _line_up(self, spec: SessionSpec, wait_s: float, most: int) -> None:
        if len(self._queue) >= most:
            raise QueueFull(
                f"{len(self._queue)} callers wait already.",
                remedy="Try again later, or have queue_length raised.",
                retry_after_s=_RETRY_S,
            )
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = Waiter(next(self._numbers), spec, self._clock(), granted)
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                await granted
        except TimeoutError:
            if not self._has_place(granted):
                raise self._late(spec, wait_s) from None
        except asyncio.CancelledError:
            if self._has_place(granted):  # it came at the moment the caller hung up
                self.leave()
            raise
        finally:
            self._on_waited(self._clock() - waiter.since)
            if waiter in self._queue:
                self._queue.remove(waiter)
                self.pump()  # who was behind it may need less than it did

    @staticmethod
    def _has_place(granted: asyncio.Future[None]) -> bool:
        return granted.done() and not granted.cancelled() and granted.exception() is None

    def _late(self, spec: SessionSpec, wait_s: float) -> ChromepoolError:
        refusal = self._refusal(spec) or PoolFull("", remedy="Try again.")
        what = "memory" if isinstance(refusal, NoMemory) else "place"
        said = f"No {what} became free within {wait_s:g} s."
        return type(refusal)(said, remedy=refusal.remedy, retry_after_s=_RETRY_S)

    def leave(self) -> None:
        """The creation is over, one way or the other: its session counts by itself now."""
        self.held -= 1
        self.pump()

    def pump(self) -> None:
        """Grants what there is to those who came first."""
        while self._queue:
            waiter = self._queue[0]
            if waiter.granted.done():  # its caller has just hung up
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
        """What is due from time to time: memory may have become free without a session's end."""
        self._buckets.forget(self._clock(), self._settings().creations_per_minute)
        self.pump()
