"""Who gets a slot, who waits for one, and what those are told who get none."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from chromepool.config import Settings
from chromepool.errors import (
    ChromepoolError,
    CircuitOpen,
    InvalidRequest,
    NoMemory,
    PoolFull,
    QueueFull,
    RateLimited,
    ShuttingDown,
)
from chromepool.gateway.capacity.admission import Decision, Grant, Refusal
from chromepool.gateway.sessions.queue import SlotQueue
from chromepool.gateway.spec import SessionSpec
from testing.clock import Clock, run, settle

LIMITS = Settings().session_limits


# -- admission --


class House:
    """So many places, taken by sessions or held for creations; ``shut`` refuses everybody, or, as
    a function, those it likes."""

    def __init__(self, places: int = 1, **settings: Any) -> None:
        self.places, self.used, self.lowest = places, 0, 0
        self.clock = Clock()
        self.shut: ChromepoolError | Callable[[SessionSpec], ChromepoolError | None] | None = None
        self.settings = Settings(**{"creations_per_minute": 0} | settings)
        self.admission = SlotQueue(self.settings, self.clock, self.decide)
        self.came_in: list[str] = []
        """Who got a place, in that order."""

    def decide(self, spec: SessionSpec) -> Decision:
        error = self.refusal(spec)
        return Grant() if error is None else Refusal(error)

    def refusal(self, spec: SessionSpec) -> ChromepoolError | None:
        assert self.admission.held >= 0
        assert self.used + self.admission.held <= self.places
        shut = self.shut(spec) if callable(self.shut) else self.shut
        if shut is not None:
            return shut
        if self.used + self.admission.held >= self.places:
            return PoolFull("All are in use.")
        return None

    async def enter(self, owner: str, wait_s: float = 30.0) -> None:
        await self.admission.enter(SessionSpec(owner, LIMITS), wait_s)
        self.came_in.append(owner)

    def call(self, owner: str, wait_s: float = 30.0) -> asyncio.Task[None]:
        return asyncio.create_task(self.enter(owner, wait_s), name=owner)

    async def calls(self, *owners: str, wait_s: float = 30.0) -> list[asyncio.Task[None]]:
        """All of them in the queue."""
        before = self.admission.waiting
        tasks = [self.call(owner, wait_s) for owner in owners]
        await settle()
        assert self.admission.waiting == before + len(owners)
        return tasks

    def settled(self) -> None:
        """The creation is over, and its session counts."""
        self.used += 1
        self.admission.leave()

    def gone(self) -> None:
        """A session's place is free again."""
        self.used -= 1
        self.admission.pump()

    def free(self, places: int = 1) -> None:
        """More places, and nobody is told."""
        self.places += places

    async def empty(self) -> None:
        """Nobody waits, nothing is held."""
        await settle()
        assert self.admission.waiting == 0
        assert self.admission.held == 0


async def refused(work: Coroutine[Any, Any, None], kind: type[ChromepoolError]) -> ChromepoolError:
    with pytest.raises(ChromepoolError) as caught:
        await work
    assert type(caught.value) is kind
    return caught.value


async def lost(*tasks: asyncio.Task[None]) -> None:
    """Each was cancelled, and says so."""
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, asyncio.CancelledError)


def test_a_place_is_held_until_it_is_left() -> None:
    async def main() -> None:
        house = House(places=2)
        for number in (1, 2):
            await house.enter("a", 0)
            assert house.admission.held == number
        await refused(house.enter("a", 0), PoolFull)
        assert house.admission.held == 2
        house.admission.leave()
        assert house.admission.held == 1
        await house.enter("b", 0)
        house.admission.leave()
        house.admission.leave()
        await house.empty()

    run(main())


@pytest.mark.parametrize("wait_s", [0.0, -1.0])
def test_who_does_not_wait_is_told_why(wait_s: float) -> None:
    async def main() -> None:
        house = House(places=0)
        for error in (PoolFull("full"), NoMemory("none"), CircuitOpen("open"), ShuttingDown("")):
            house.shut = error
            assert await refused(house.enter("a", wait_s), type(error)) is error
        await house.empty()

    run(main())


def test_places_go_in_the_order_of_arrival() -> None:
    async def main() -> None:
        house = House(places=0)
        tasks = await house.calls(*"abcdef")
        assert [(n, w.spec.owner) for n, w in house.admission.waiters()] == list(
            enumerate("abcdef", 1)
        )
        for count in (1, 2, 3):
            house.free(count)
            house.admission.pump()
            await settle()
        assert house.came_in == list("abcdef")
        assert house.admission.held == 6
        await asyncio.gather(*tasks)
        for _ in tasks:
            house.admission.leave()
        await house.empty()

    run(main())


def test_a_place_that_is_left_goes_to_the_next() -> None:
    async def main() -> None:
        house = House(places=1)
        await house.enter("first")
        await house.calls("a", "b")
        house.admission.leave()
        assert house.admission.held == 1
        await settle()
        assert house.came_in == ["first", "a"]
        house.settled()
        await settle()
        assert house.came_in == ["first", "a"]
        house.gone()
        await settle()
        assert house.came_in == ["first", "a", "b"]
        house.admission.leave()
        await house.empty()

    run(main())


@pytest.mark.parametrize("wait_s", [0.0, 30.0])
def test_nobody_jumps_the_queue(wait_s: float) -> None:
    """There is a place, of which the queue has not heard yet."""

    async def main() -> None:
        house = House(places=0)
        await house.calls("a")
        house.free()
        late = house.call("late", wait_s)
        await settle()
        assert house.came_in == []
        house.admission.pump()
        await settle()
        assert house.came_in == ["a"]
        if wait_s:
            house.free()
            house.admission.pump()
            await late
            house.admission.leave()
        else:
            with pytest.raises(PoolFull, match="Others wait for a slot already"):
                await late
        house.admission.leave()
        await house.empty()

    run(main())


def test_who_needs_less_waits_behind_who_needs_more() -> None:
    async def main() -> None:
        house = House(places=2)
        house.shut = lambda spec: NoMemory("none") if spec.owner == "big" else None
        await house.calls("big")
        await house.calls("small")
        house.admission.pump()
        await settle()
        assert house.came_in == []
        house.shut = None
        house.admission.sweep()
        await settle()
        assert house.came_in == ["big", "small"]
        house.admission.leave()
        house.admission.leave()
        await house.empty()

    run(main())


def test_who_needs_less_is_next_when_who_needs_more_is_gone() -> None:
    async def main() -> None:
        house = House(places=1)
        house.shut = lambda spec: NoMemory("none") if spec.owner == "big" else None
        (big,) = await house.calls("big")
        (small,) = await house.calls("small")
        big.cancel()
        await small
        assert house.admission.held == 1
        house.admission.leave()
        await lost(big)
        await house.empty()

    run(main())


def test_who_needs_less_is_next_when_who_needs_more_has_waited_in_vain() -> None:
    async def main() -> None:
        house = House(places=1)
        house.shut = lambda spec: NoMemory("none") if spec.owner == "big" else None
        (big,) = await house.calls("big", wait_s=5)
        (small,) = await house.calls("small")
        with pytest.raises(NoMemory, match="within 5 s"):
            await big
        await small
        house.admission.leave()
        await house.empty()

    run(main())


# -- callers who vanish --


@pytest.mark.parametrize("which", ["a", "c", "e", "ae", "abcd", "bcd", "edcba"])
def test_who_hangs_up_leaves_the_order_as_it_was(which: str) -> None:
    async def main() -> None:
        house = House(places=0)
        tasks = dict(zip("abcde", await house.calls(*"abcde"), strict=True))
        for name in which:
            tasks[name].cancel()
        await settle()
        left = [name for name in "abcde" if name not in which]
        assert [waiter.spec.owner for _, waiter in house.admission.waiters()] == left
        house.free(5)
        house.admission.pump()
        await settle()
        assert house.came_in == left
        for _ in left:
            house.admission.leave()
        await lost(*(tasks[name] for name in which))
        await house.empty()

    run(main())


def test_a_place_granted_to_who_hangs_up_goes_to_the_next() -> None:
    async def main() -> None:
        house = House(places=0)
        a, b, _ = await house.calls("a", "b", "c")
        house.free()
        house.admission.pump()
        a.cancel()  # it has the place, and has not run since
        assert house.admission.held == 1
        await settle()
        assert house.came_in == ["b"]
        assert house.admission.held == 1
        await lost(a)
        await b
        house.admission.leave()
        await settle()
        assert house.came_in == ["b", "c"]
        house.admission.leave()
        await house.empty()

    run(main())


def test_a_place_is_not_given_to_who_has_hung_up() -> None:
    async def main() -> None:
        house = House(places=0)
        a, _ = await house.calls("a", "b")
        a.cancel()  # and has not run since
        house.free()
        house.admission.pump()
        assert house.admission.held == 1
        await settle()
        assert house.came_in == ["b"]
        await lost(a)
        house.admission.leave()
        await house.empty()

    run(main())


def test_when_all_hang_up_with_their_places_granted_all_places_are_free() -> None:
    async def main() -> None:
        house = House(places=0)
        tasks = await house.calls(*"abcde")
        house.free(3)
        house.admission.pump()
        assert house.admission.held == 3
        for task in tasks:
            task.cancel()
        await lost(*tasks)
        await house.empty()
        assert house.came_in == []
        for name in "xyz":
            await house.enter(name, 0)
        await refused(house.enter("w", 0), PoolFull)

    run(main())


def test_who_comes_while_the_queue_has_just_vanished_gets_the_place() -> None:
    async def main() -> None:
        house = House(places=0)
        a, b = await house.calls("a", "b")
        late = house.call("late")
        a.cancel()
        b.cancel()
        house.free()
        await late
        assert house.admission.held == 1
        await lost(a, b)
        house.admission.leave()
        await house.empty()

    run(main())


# -- waiting in vain --


@pytest.mark.parametrize(("wait_s", "within"), [(5.0, 5.0), (60.0, 60.0), (61.0, 60.0)])
def test_nobody_waits_longer_than_they_want_and_may(wait_s: float, within: float) -> None:
    async def main() -> None:
        house = House(places=0, queue_wait_s=60)
        error = await refused(house.enter("a", wait_s), PoolFull)
        assert asyncio.get_running_loop().time() == pytest.approx(within)
        assert error.detail == f"No slot became free within {within:g} s."
        assert error.retry_after_s == 5.0
        await house.empty()

    run(main())


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (NoMemory("none", remedy="More."), "No memory became free within 5 s. More."),
        (PoolFull("full", remedy="Wait."), "No slot became free within 5 s. Wait."),
        (None, "No slot became free within 5 s. Try again."),
    ],
)
def test_who_waited_in_vain_is_told_what_was_missing(
    now: ChromepoolError | None, said: str
) -> None:
    async def main() -> None:
        house = House(places=0)
        (task,) = await house.calls("a", wait_s=5)
        house.free()
        house.shut = now
        with pytest.raises(type(now or PoolFull(""))) as error:
            await task
        assert str(error.value) == said
        await house.empty()

    run(main())


BEFORE, AFTER = -1e-10, 1e-10
"""Both within one turn of the loop: what is due in the next nanosecond is due."""


def test_a_place_that_comes_just_before_the_time_is_up_is_kept() -> None:
    async def main() -> None:
        house = House(places=0)
        loop = asyncio.get_running_loop()
        turns: list[str] = []

        def grant() -> None:
            turns.append("grant")
            house.free()
            house.admission.pump()

        a, b = house.call("a", 10), house.call("b", 20)
        await settle()
        loop.call_at(10 + BEFORE, grant)
        loop.call_at(10, turns.append, "time is up")
        loop.call_at(10, loop.call_soon, turns.append, "next turn")
        await a
        assert turns[:2] == ["grant", "time is up"]
        assert house.came_in == ["a"]
        assert house.admission.held == 1
        house.admission.leave()
        await b
        house.admission.leave()
        await house.empty()

    run(main())


def test_a_place_that_comes_just_after_the_time_is_up_goes_to_the_next() -> None:
    async def main() -> None:
        house = House(places=0)

        def grant() -> None:
            assert not a.done()  # its time is up, and it has not run since
            house.free()
            house.admission.pump()

        a, b = house.call("a", 10), house.call("b", 20)
        await settle()
        asyncio.get_running_loop().call_at(10 + AFTER, grant)
        with pytest.raises(PoolFull, match="within 10 s"):
            await a
        await b
        assert house.came_in == ["b"]
        assert house.admission.held == 1
        house.admission.leave()
        await house.empty()

    run(main())


@pytest.mark.parametrize("granted_at", [10 + BEFORE, 10 + AFTER])
def test_who_hangs_up_when_the_time_is_up_loses_no_place(granted_at: float) -> None:
    async def main() -> None:
        house = House(places=0)
        loop = asyncio.get_running_loop()

        def grant() -> None:
            house.free()
            house.admission.pump()

        a, b = house.call("a", 10), house.call("b", 20)
        await settle()
        loop.call_at(granted_at, grant)
        loop.call_at(10 + 2 * AFTER, a.cancel)
        await lost(a)
        await b
        assert house.came_in == ["b"]
        assert house.admission.held == 1
        house.admission.leave()
        await house.empty()

    run(main())


# -- the queue's bound --


@pytest.mark.parametrize("most", [0, 1, 3])
def test_as_many_wait_as_may_and_not_one_more(most: int) -> None:
    async def main() -> None:
        house = House(places=0, queue_length=most)
        tasks = await house.calls(*(f"{number}" for number in range(most)))
        error = await refused(house.enter("late"), QueueFull)
        assert error.detail == f"{most} callers wait already."
        assert "queue_length" in error.remedy
        assert error.retry_after_s == 5.0
        assert house.admission.waiting == most
        for task in tasks:
            task.cancel()
        await lost(*tasks)
        await house.empty()

    run(main())


def test_who_hangs_up_makes_room_in_the_queue() -> None:
    async def main() -> None:
        house = House(places=0, queue_length=2)
        a, b = await house.calls("a", "b")
        await refused(house.enter("c"), QueueFull)
        a.cancel()
        await settle()
        (d,) = await house.calls("d")
        await refused(house.enter("e"), QueueFull)
        b.cancel()
        d.cancel()
        await lost(a, b, d)
        await house.empty()

    run(main())


def test_a_full_queue_keeps_nobody_from_a_place() -> None:
    async def main() -> None:
        house = House(places=1, queue_length=0)
        await house.enter("a")
        house.admission.leave()
        await house.empty()

    run(main())


def test_a_bound_that_was_lowered_sends_nobody_away() -> None:
    async def main() -> None:
        house = House(places=0, queue_length=3)
        tasks = await house.calls(*"abc")
        house.admission.settings = Settings(creations_per_minute=0, queue_length=1)
        await refused(house.enter("d"), QueueFull)
        house.free(3)
        house.admission.sweep()
        await asyncio.gather(*tasks)
        assert house.came_in == list("abc")

    run(main())


# -- what no waiting helps against --


@pytest.mark.parametrize("error", [ShuttingDown("stop"), CircuitOpen("open"), InvalidRequest("x")])
def test_who_cannot_be_helped_is_not_kept_waiting(error: ChromepoolError) -> None:
    async def main() -> None:
        house = House(places=5)
        house.shut = error
        assert await refused(house.enter("a"), type(error)) is error
        assert asyncio.get_running_loop().time() == 0
        await house.empty()

    run(main())


@pytest.mark.parametrize("error", [ShuttingDown("stop"), CircuitOpen("open")])
def test_all_who_wait_are_told_at_once(error: ChromepoolError) -> None:
    async def main() -> None:
        house = House(places=0)
        tasks = await house.calls(*"abc")
        tasks[1].cancel()
        house.shut = error
        house.admission.pump()
        assert house.admission.waiting == 0
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[0] is error
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert outcomes[2] is error
        assert asyncio.get_running_loop().time() == 0
        assert house.came_in == []
        await house.empty()

    run(main())


def test_who_hangs_up_while_being_told_leaves_no_complaint_behind() -> None:
    async def main() -> None:
        house = House(places=0)
        tasks = await house.calls(*"ab")
        house.shut = ShuttingDown("stop")
        house.admission.pump()
        for task in tasks:
            task.cancel()
        await lost(*tasks)
        await house.empty()

    run(main())


def test_who_is_told_when_the_time_is_up_is_told_that_all_is_over() -> None:
    async def main() -> None:
        house = House(places=0)

        def stop() -> None:
            house.shut = ShuttingDown("stop")
            house.admission.pump()

        a = house.call("a", 10)
        await settle()
        asyncio.get_running_loop().call_at(10 + BEFORE, stop)
        with pytest.raises(ShuttingDown):
            await a
        await house.empty()

    run(main())


def test_a_refusal_of_the_first_does_not_keep_the_place_from_the_next() -> None:
    async def main() -> None:
        house = House(places=0)
        a, _, c = await house.calls("a", "b", "c")
        house.shut = lambda spec: CircuitOpen("cold") if spec.owner in "ac" else None
        house.free(2)
        house.admission.pump()
        for task in (a, c):
            with pytest.raises(CircuitOpen):
                await task
        assert house.came_in == ["b"]
        house.admission.leave()
        await house.empty()

    run(main())


# -- the rate --


def limited(places: int = 1, **settings: Any) -> House:
    return House(places, creations_per_minute=1, **settings)


async def has_token(house: House, owner: str) -> bool:
    """Whether it could create one now; takes nothing."""
    shut, house.shut = house.shut, InvalidRequest("asked")
    try:
        await house.admission.enter(SessionSpec(owner, LIMITS), 0)
    except RateLimited:
        return False
    except InvalidRequest:
        return True
    finally:
        house.shut = shut
    raise AssertionError("it was let in")


def test_who_creates_too_fast_is_told_how_long_to_wait() -> None:
    async def main() -> None:
        house = limited(places=9)
        await house.enter("a")
        error = await refused(house.enter("a"), RateLimited)
        assert error.retry_after_s == 60.0
        assert "1 sessions a minute" in error.detail
        assert house.admission.held == 1
        await house.enter("b")
        house.clock.now = 59.0
        assert (await refused(house.enter("a"), RateLimited)).retry_after_s == pytest.approx(1)
        house.clock.now = 60.0
        await house.enter("a")

    run(main())


def test_the_rate_comes_before_everything_else() -> None:
    async def main() -> None:
        house = limited(places=1)
        await house.enter("a")
        for error in (PoolFull("full"), ShuttingDown("stop")):
            house.shut = error
            await refused(house.enter("a"), RateLimited)
        assert house.admission.waiting == 0

    run(main())


def test_a_place_that_is_left_is_no_token() -> None:
    async def main() -> None:
        house = limited()
        await house.enter("a")
        house.admission.leave()
        assert not await has_token(house, "a")

    run(main())


@pytest.mark.parametrize(
    "error", [PoolFull("full"), NoMemory("none"), CircuitOpen("open"), ShuttingDown("stop")]
)
def test_the_token_of_who_is_refused_is_given_back(error: ChromepoolError) -> None:
    async def main() -> None:
        house = limited()
        house.shut = error
        for _ in range(3):
            await refused(house.enter("a", 0), type(error))
        house.shut = None
        await house.enter("a", 0)
        await refused(house.enter("a", 0), RateLimited)

    run(main())


def test_the_token_of_who_waited_for_nothing_is_given_back() -> None:
    async def main() -> None:
        house = limited(places=0, queue_length=3)
        late, gone, told = await house.calls("late", "gone", "told", wait_s=5)
        for owner in ("late", "gone", "told"):
            assert not await has_token(house, owner)
        await refused(house.enter("crowd"), QueueFull)
        gone.cancel()
        await lost(gone)
        with pytest.raises(PoolFull):
            await late
        assert isinstance(told.exception(), PoolFull)
        for owner in ("late", "gone", "told", "crowd"):
            assert await has_token(house, owner)

    run(main())


def test_the_token_of_who_hangs_up_with_the_place_is_given_back_and_no_other() -> None:
    async def main() -> None:
        house = limited(places=0)
        a, b = await house.calls("a", "b")
        house.free()
        house.admission.pump()
        a.cancel()
        await lost(a)
        await b
        assert await has_token(house, "a")
        assert not await has_token(house, "b")

    run(main())


def test_a_sweep_forgets_who_has_not_come_for_long() -> None:
    async def main() -> None:
        house = limited(places=100)
        for number in range(100):
            await house.enter(f"{number}")
        buckets = house.admission._rate
        house.clock.now = 59.9
        house.admission.sweep()
        assert len(buckets._buckets) == 100
        house.clock.now = 60.0
        house.admission.sweep()
        assert len(buckets._buckets) == 0

    run(main())


# -- a crowd --


class Crowd:
    """Callers who come, hang up, create, fail and end as chance has it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.house = House(self.random.randint(1, 4), queue_length=self.random.randint(0, 6))
        self.numbers: Iterator[int] = iter(range(10_000))
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.cancelled: set[str] = set()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.entered = 0
        """Callers who came in and whose creation is under way."""

    async def come(self) -> None:
        await settle()  # so that they come in one after the other
        name = f"{next(self.numbers):05}"
        wait_s = self.random.choice([0.0, 1.0, 3.0, 30.0])
        self.tasks[name] = asyncio.create_task(self._visit(name, wait_s))
        await settle()

    async def _visit(self, name: str, wait_s: float) -> None:
        try:
            await self.house.enter(name, wait_s)
        except (PoolFull, QueueFull) as error:
            self.outcomes[error.code] += 1
        else:
            self.entered += 1
            self.outcomes["came in"] += 1

    async def hang_up(self) -> None:
        running = [name for name, task in self.tasks.items() if not task.done()]
        for name in self.random.sample(running, min(len(running), self.random.randint(1, 2))):
            self.cancelled.add(name)
            self.tasks[name].cancel()

    async def create(self) -> None:
        if self.entered:
            self.entered -= 1
            self.house.settled()

    async def fail(self) -> None:
        if self.entered:
            self.entered -= 1
            self.house.admission.leave()

    async def end(self) -> None:
        if self.house.used:
            self.house.gone()

    async def wait(self) -> None:
        await asyncio.sleep(self.random.choice([0.0, 0.0, 0.5, 1.0, 2.0]))

    def check(self) -> None:
        house, admission = self.house, self.house.admission
        assert 0 <= self.entered <= admission.held
        assert admission.held + house.used <= house.places
        assert admission.waiting <= house.settings.queue_length
        assert house.came_in == sorted(house.came_in)
        full = admission.held + house.used == house.places
        assert full or all(waiter.granted.done() for _, waiter in admission.waiters())

    async def live(self, steps: int) -> None:
        moves = [self.come, self.come, self.hang_up, self.create, self.fail, self.end, self.wait]
        for _ in range(steps):
            await self.random.choice(moves)()
            self.check()
            if self.random.random() < 0.3:
                await settle()
                self.check()
                assert self.entered == self.house.admission.held

    async def die_down(self) -> None:
        """Everybody who still waits gets their turn."""
        while not all(task.done() for task in self.tasks.values()):
            await settle()
            await self.create()
            await self.end()
            self.check()
        while self.entered or self.house.used:
            await self.create()
            await self.end()


@pytest.mark.parametrize("seed", range(25))
def test_a_crowd_never_gets_more_places_than_there_are_nor_loses_one(seed: int) -> None:
    async def main() -> None:
        crowd = Crowd(seed)
        house = crowd.house
        await crowd.live(300)
        await crowd.die_down()
        await house.empty()
        hung_up = {name for name, task in crowd.tasks.items() if task.cancelled()}
        assert hung_up <= crowd.cancelled
        for name, task in crowd.tasks.items():
            assert name in hung_up or task.exception() is None
        assert crowd.outcomes.total() + len(hung_up) == len(crowd.tasks)
        assert crowd.outcomes["came in"] == len(house.came_in) > 0
        for number in range(house.places):
            await house.enter(f"fresh {number}", 0)
        await refused(house.enter("one too many", 0), PoolFull)

    run(main())


def test_the_crowds_see_every_outcome() -> None:
    """Or the test above would prove less than it seems to."""
    seen: collections.Counter[str] = collections.Counter()

    async def main(crowd: Crowd) -> None:
        await crowd.live(300)
        await crowd.die_down()
        seen.update(crowd.outcomes)
        seen["hung up"] += sum(task.cancelled() for task in crowd.tasks.values())

    for seed in range(5):
        run(main(Crowd(seed)))
    for outcome in ("came in", "hung up", "pool_full", "queue_full"):
        assert seen[outcome] >= 20
