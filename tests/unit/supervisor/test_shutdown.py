"""How long the daemon's end may take, by a clock that is set."""

from __future__ import annotations

from chromepool.supervisor.shutdown import ShutdownDeadline


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_over_when_nothing_is_left() -> None:
    clock = Clock()
    ending = ShutdownDeadline(clock)
    assert not ending.begun
    assert not ending.finished([], [])
    assert ending.due(clock.now) == []
    ending.begin(30)
    assert ending.begun
    assert not ending.finished(["s1"], [])
    assert not ending.finished([], [7])
    assert ending.finished([], [])
    assert not ending.expired
    assert ending.due(clock.now) == [130]


def test_past_its_time_it_is_looked_at_often_and_given_up_in_the_end() -> None:
    clock = Clock()
    ending = ShutdownDeadline(clock)
    ending.begin(30)
    clock.now += 30
    assert ending.expired
    (due,) = ending.due(clock.now)
    assert 0.01 <= due - clock.now <= 0.5, "neither at once, over and over, nor late"
    clock.now += 9
    assert not ending.finished(["s1"], [])
    clock.now += 1
    assert ending.finished(["s1"], [])
    assert ending.finished([], [7])


def test_a_second_request_means_at_once() -> None:
    clock = Clock()
    ending = ShutdownDeadline(clock)
    ending.begin(30)
    ending.begin(0)
    assert ending.expired
