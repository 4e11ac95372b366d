"""What keeps the newest: each bound at its edge and one past it, time by a made-up clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool.errors import InvalidRequest, ScriptExists, ScriptNotFound, StoreFull
from chromepool.gateway.store.responses import ResponseFilter
from chromepool.gateway.store.ring import Ring
from chromepool.gateway.store.scripts import Script, Scripts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _ring(most: int = 3, most_bytes: int = 100, ttl_s: float = math.inf) -> tuple[Ring[str], Clock]:
    clock = Clock()
    return Ring(most, most_bytes, clock, ttl_s), clock


def _items(ring: Ring[str]) -> list[str]:
    return [item for _, item in ring]


def test_as_many_as_it_may_and_one_more() -> None:
    ring, _ = _ring(most=3)
    for item in "abc":
        ring.add(item, 1)
    assert (_items(ring), ring.dropped) == (["a", "b", "c"], 0)
    ring.add("d", 1)
    assert (_items(ring), ring.dropped, ring.bytes) == (["b", "c", "d"], 1, 3)


def test_as_many_bytes_as_it_may_and_one_more() -> None:
    ring, _ = _ring(most=10, most_bytes=100)
    ring.add("a", 60)
    ring.add("b", 40)
    assert _items(ring) == ["a", "b"]
    ring.add("c", 1)
    assert (_items(ring), ring.bytes) == (["b", "c"], 41)


def test_one_that_is_too_large_for_all_of_it_is_not_kept() -> None:
    ring, _ = _ring(most_bytes=100)
    ring.add("a", 1)
    ring.add("b", 101)
    assert (_items(ring), ring.bytes, ring.dropped) == ([], 0, 2)


def test_an_item_that_grows_pushes_out_the_older_ones() -> None:
    ring, _ = _ring(most=10, most_bytes=100)
    ring.add("a", 50)
    number = ring.add("b", 50)
    ring.grow(number, 1)
    assert (_items(ring), ring.bytes) == (["b"], 51)
    ring.grow(99, 1000)
    assert ring.bytes == 51


def test_time_is_up_at_its_edge_also_when_nothing_new_arrives() -> None:
    ring, clock = _ring(ttl_s=5.0)
    first = ring.add("a", 1)
    clock.now = 4.999
    assert ring.get(first) == "a"
    clock.now = 5.0
    ring.trim()
    assert (ring.bytes, ring.dropped) == (0, 1)
    assert ring.get(first) is None
    assert len(ring) == 0


def test_numbers_are_never_given_again() -> None:
    ring, _ = _ring(most=2)
    numbers = [ring.add(item, 1) for item in "abcd"]
    assert numbers == [1, 2, 3, 4]
    assert ring.remove(4)
    assert not ring.remove(4)
    assert not ring.remove(1)
    ring.clear()
    assert ring.add("e", 1) == 5
    assert ring.bytes == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 3)), max_size=60))
def test_it_is_never_over_any_bound(steps: list[tuple[int, float]]) -> None:
    ring, clock = _ring(most=4, most_bytes=100, ttl_s=5.0)
    added: list[tuple[float, int, int]] = []
    for size, pause in steps:
        clock.now += pause
        added.append((clock.now, ring.add("x", size), size))
        kept = [number for number, _ in ring]
        assert len(kept) <= 4
        assert ring.bytes == sum(size for _, number, size in added if number in kept) <= 100
        assert kept == sorted(kept)
        assert all(clock.now - at < 5.0 for at, number, _ in added if number in kept)


def test_scripts_at_their_edges() -> None:
    scripts = Scripts(2, 4)
    scripts.add(Script("a", "1234"))
    assert scripts.put(Script("b", "ä12"))  # four bytes
    for source in ("12345", "äää"):
        with pytest.raises(InvalidRequest):
            scripts.put(Script("a", source))
    with pytest.raises(StoreFull):
        scripts.add(Script("c", "1"))
    with pytest.raises(ScriptExists):
        scripts.add(Script("a", "1"))
    assert not scripts.put(Script("a", "2"))
    assert [s.name for s in scripts.all()] == ["a", "b"]
    scripts.remove("a")
    with pytest.raises(ScriptNotFound):
        scripts.remove("a")
    scripts.add(Script("a", "3"))
    assert [s.name for s in scripts.all()] == ["b", "a"]


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (ResponseFilter(), True),
        (ResponseFilter(urls=("https://a/*",)), True),
        (ResponseFilter(urls=("https://b/*",)), False),
        (ResponseFilter(urls=("https://b/*", "*/x?")), True),
        (ResponseFilter(types=("XHR", "Fetch")), True),
        (ResponseFilter(types=("Image",)), False),
        (ResponseFilter(statuses=("404",)), True),
        (ResponseFilter(statuses=("4xx",)), True),
        (ResponseFilter(statuses=("5xx", "40")), False),
        (ResponseFilter(urls=("*",), types=("Fetch",), statuses=("200",)), False),
    ],
)
def test_what_is_wanted(wanted: ResponseFilter, takes: bool) -> None:
    assert wanted.matches("https://a/b/xy", "Fetch", 404) is takes


@pytest.mark.parametrize(
    ("pattern", "url", "takes"),
    [
        ("http://[::1]:80/*", "http://[::1]:80/x", True),
        ("*f[name]=*", "http://a/?f[name]=1", True),
        ("*f[name]=*", "http://a/?fn=1", False),
        ("*[!a]", "http://a/[!a]", True),
        ("*?", "", False),
        ("http://a/*", "http://a/x\ny", True),
        ("http://a/", "HTTP://a/", False),
    ],
)
def test_only_asterisks_and_question_marks_stand_for_others(
    pattern: str, url: str, takes: bool
) -> None:
    assert ResponseFilter(urls=(pattern,)).matches(url, "Fetch", 200) is takes
