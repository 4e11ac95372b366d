"""The circuit breaker: when it opens, and the one try that closes it."""

from __future__ import annotations

import pytest

from chromepool.config import Settings
from chromepool.gateway.capacity.breaker import Breaker

SETTINGS = Settings(breaker_failures=3, breaker_pause_s=30.0)


def failed(breaker: Breaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.fail(breaker.begin(), now, f"words at {now:g}")


def opened() -> Breaker:
    """Opened at 0 for 30 seconds."""
    breaker = Breaker(SETTINGS)
    failed(breaker, 0.0, 3)
    return breaker


def test_one_failure_fewer_leaves_it_closed() -> None:
    breaker = Breaker(SETTINGS)
    failed(breaker, 0.0, 2)
    assert not breaker.is_open
    assert breaker.pause_s(0.0) == 0.0
    assert breaker.words == "words at 0"
    failed(breaker, 0.0)
    assert breaker.is_open
    assert breaker.pause_s(0.0) == 30.0


def test_one_failure_is_enough_where_one_is_the_limit() -> None:
    breaker = Breaker(Settings(breaker_failures=1, breaker_pause_s=0.5))
    breaker.fail(breaker.begin(), 5.0, "no")
    assert breaker.pause_s(5.0) == 0.5
    assert breaker.pause_s(5.5) == 0.0


def test_a_success_between_failures_counts_them_anew() -> None:
    breaker = Breaker(SETTINGS)
    failed(breaker, 0.0, 2)
    breaker.begin()
    breaker.succeed()
    assert breaker.words == ""
    failed(breaker, 0.0, 2)
    assert not breaker.is_open
    failed(breaker, 0.0)
    assert breaker.is_open


def test_the_pause_ends_at_its_edge() -> None:
    breaker = opened()
    assert breaker.pause_s(29.5) == 0.5
    assert breaker.pause_s(30.0) == 0.0
    assert breaker.pause_s(1e9) == 0.0
    assert breaker.is_open


def test_half_open_it_lets_one_try() -> None:
    breaker = opened()
    breaker.begin()
    for now in (30.0, 31.0, 1e9):
        assert breaker.pause_s(now) == 1.0
    assert breaker.is_open


def test_the_try_that_works_closes_it() -> None:
    breaker = opened()
    breaker.begin()
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.pause_s(30.0) == 0.0
    assert breaker.words == ""
    attempt = breaker.begin()
    assert breaker.pause_s(30.0) == 0.0
    breaker.cancel(attempt)
    failed(breaker, 31.0, 2)
    assert not breaker.is_open


def test_the_try_that_fails_opens_it_again_for_the_whole_pause() -> None:
    breaker = opened()
    for start in (40.0, 90.0):
        assert breaker.pause_s(start) == 0.0
        failed(breaker, start)
        assert breaker.pause_s(start) == 30.0
        assert breaker.pause_s(start + 29) == 1.0
        assert breaker.pause_s(start + 30) == 0.0
        assert breaker.words == f"words at {start:g}"


def test_a_try_that_was_given_up_lets_another() -> None:
    breaker = opened()
    attempt = breaker.begin()
    assert breaker.pause_s(30.0) == 1.0
    breaker.cancel(attempt)
    assert breaker.pause_s(30.0) == 0.0
    assert breaker.is_open
    breaker.begin()
    assert breaker.pause_s(30.0) == 1.0


def test_giving_up_while_closed_counts_for_nothing() -> None:
    breaker = Breaker(SETTINGS)
    failed(breaker, 0.0, 2)
    breaker.cancel(breaker.begin())
    assert breaker.pause_s(0.0) == 0.0
    failed(breaker, 0.0)
    assert breaker.is_open


@pytest.mark.parametrize("how", ["fails", "is given up"])
def test_a_start_from_before_it_opened_does_not_end_the_one_try(how: str) -> None:
    breaker = Breaker(SETTINGS)
    slow = breaker.begin()
    failed(breaker, 0.0, 3)
    trial = breaker.begin()
    assert breaker.pause_s(30.0) == 1.0
    if how == "fails":
        breaker.fail(slow, 30.0, "the slow one")
        assert breaker.words == "words at 0"
    else:
        breaker.cancel(slow)
    assert breaker.pause_s(90.0) == 1.0
    breaker.cancel(trial)
    assert breaker.pause_s(90.0) == 0.0


def test_a_start_from_before_it_opened_closes_it_when_it_works() -> None:
    breaker = Breaker(SETTINGS)
    breaker.begin()
    failed(breaker, 0.0, 3)
    breaker.succeed()
    assert (breaker.is_open, breaker.pause_s(0.0)) == (False, 0.0)
