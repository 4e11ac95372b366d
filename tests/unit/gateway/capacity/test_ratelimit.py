"""How often each client may create a session."""

from __future__ import annotations

import pytest

from chromepool.gateway.capacity.ratelimit import RateLimiter


@pytest.fixture
def buckets() -> RateLimiter:
    return RateLimiter(5)


def drain(buckets: RateLimiter, owner: str, now: float, count: int = 5) -> None:
    for _ in range(count):
        assert buckets.take(owner, now) == 0.0


def test_five_a_minute_and_not_a_sixth(buckets: RateLimiter) -> None:
    drain(buckets, "a", 100.0)
    assert buckets.take("a", 100.0) == 12.0


def test_a_clock_that_does_not_move_gives_nothing(buckets: RateLimiter) -> None:
    drain(buckets, "a", 0.0)
    for _ in range(1000):
        assert buckets.take("a", 0.0) == 12.0


def test_who_is_refused_does_not_wait_longer_for_it(buckets: RateLimiter) -> None:
    drain(buckets, "a", 0.0)
    for second in range(12):
        assert buckets.take("a", float(second)) == pytest.approx(12 - second)
    assert buckets.take("a", 12.0) == 0.0
    assert buckets.take("a", 12.0) == pytest.approx(12)


@pytest.mark.parametrize("per_minute", [0.25, 0.7, 1.0, 3.0, 5.0, 7.0, 60.0, 999.9])
def test_the_pause_is_just_as_long_as_need_be(buckets: RateLimiter, per_minute: float) -> None:
    now = 1e6
    buckets.per_minute = per_minute
    for _ in range(max(1, int(per_minute))):
        assert buckets.take("a", now) == 0.0
    for _ in range(50):
        pause_s = buckets.take("a", now)
        assert 0 < pause_s <= 60 / per_minute * 1.001
        assert buckets.take("a", now + pause_s * 0.999) > 0
        now += pause_s
        assert buckets.take("a", now) == 0.0


def test_a_minute_fills_it_and_a_day_no_more(buckets: RateLimiter) -> None:
    drain(buckets, "a", 0.0)
    drain(buckets, "a", 60.0)
    assert buckets.take("a", 60.0) > 0
    drain(buckets, "a", 86_460.0)
    assert buckets.take("a", 86_460.0) > 0


def test_fewer_than_one_a_minute_is_still_one_at_a_time(buckets: RateLimiter) -> None:
    buckets.per_minute = 0.5
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) == 120.0
    assert buckets.take("a", 120.0) == 0.0
    assert buckets.take("a", 10_000.0) == 0.0
    assert buckets.take("a", 10_000.0) == 120.0


def test_nought_is_no_limit_and_keeps_nothing(buckets: RateLimiter) -> None:
    buckets.per_minute = 0
    for number in range(10_000):
        assert buckets.take(f"{number % 10}", 0.0) == 0.0
    assert len(buckets._buckets) == 0


def test_each_owner_has_their_own(buckets: RateLimiter) -> None:
    drain(buckets, "a", 0.0)
    assert buckets.take("a", 0.0) > 0
    drain(buckets, "b", 0.0)
    assert buckets.take("b", 0.0) == 12.0


def test_what_is_given_back_can_be_taken_again_once(buckets: RateLimiter) -> None:
    drain(buckets, "a", 0.0)
    buckets.give_back("a")
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) == 12.0


def test_giving_back_never_makes_more_than_a_minutes_worth(buckets: RateLimiter) -> None:
    assert buckets.take("a", 0.0) == 0.0
    for _ in range(100):
        buckets.give_back("a")
    drain(buckets, "a", 0.0)
    assert buckets.take("a", 0.0) == 12.0


def test_giving_back_to_a_stranger_is_nothing(buckets: RateLimiter) -> None:
    buckets.give_back("a")
    assert len(buckets._buckets) == 0


def test_full_buckets_are_forgotten_and_no_others(buckets: RateLimiter) -> None:
    for number in range(1000):
        assert buckets.take(f"{number}", 0.0) == 0.0
    drain(buckets, "late", 0.0)
    buckets.forget(11.9)
    assert len(buckets._buckets) == 1001
    buckets.forget(12.0)
    assert len(buckets._buckets) == 1
    assert buckets.take("late", 12.0) == 0.0
    assert buckets.take("late", 12.0) == pytest.approx(12)
    buckets.forget(72.0)
    assert len(buckets._buckets) == 0


def test_being_forgotten_is_worth_nothing(buckets: RateLimiter) -> None:
    drain(buckets, "a", 0.0, 1)
    buckets.forget(12.0)
    assert len(buckets._buckets) == 0
    drain(buckets, "a", 12.0)
    assert buckets.take("a", 12.0) == 12.0


def test_a_limit_that_was_lowered_holds_at_once(buckets: RateLimiter) -> None:
    buckets.per_minute = 100
    assert buckets.take("a", 0.0) == 0.0
    buckets.per_minute = 1
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) == 60.0
