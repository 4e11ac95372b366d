"""Cutting what comes out of the pipe into messages, however it was chopped."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool.errors import BrowserGone
from chromepool.gateway.cdp import framing
from chromepool.gateway.cdp.framing import Splitter

MESSAGES = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\0", b"")), max_size=12)


def _chop(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=20), st.binary(max_size=5))
def test_any_chopping_gives_the_same_messages(
    messages: list[bytes], cuts: list[int], rest: bytes
) -> None:
    stream = b"".join(message + b"\0" for message in messages) + rest.replace(b"\0", b"")
    splitter = Splitter()
    assert [m for chunk in _chop(stream, cuts) for m in splitter.feed(chunk)] == messages


@given(MESSAGES)
def test_byte_by_byte(messages: list[bytes]) -> None:
    splitter, found = Splitter(), []
    for message in messages:
        for at in range(len(message)):
            assert splitter.feed(message[at : at + 1]) == []
        found += splitter.feed(b"\0")
    assert found == messages


def test_edges() -> None:
    splitter = Splitter()
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\0") == [b""]
    assert splitter.feed(b"\0\0\0") == [b"", b"", b""]
    assert splitter.feed(b"a") == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"b\0c\0d") == [b"ab", b"c"]
    assert splitter.feed(b"\0") == [b"d"]
    assert splitter.feed(b"\0") == [b""]


def test_a_message_without_end_has_one() -> None:
    splitter, chunk = Splitter(), bytes(1 << 20).replace(b"\0", b"x")
    whole = framing.LONGEST_BYTES >> 20
    for _ in range(whole):
        assert splitter.feed(chunk) == []  # the same object each time: no memory to speak of
    with pytest.raises(BrowserGone, match="over"):
        splitter.feed(b"x")


def test_long_messages_do_not_add_up() -> None:
    """The bound is for one message; what was taken off counts no more."""
    splitter, chunk = Splitter(), b"x" * (1 << 20)
    rounds, each = 9, (framing.LONGEST_BYTES >> 20) // 8
    for _ in range(rounds):
        for _ in range(each):
            splitter.feed(chunk)
        tracemalloc.start()
        (message,) = splitter.feed(b"\0")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(message) == each << 20
        assert peak < 1.2 * len(message)  # joined once, not copied piece by piece
        del message
