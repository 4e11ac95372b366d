"""WebSocket frames as a hostile client cuts them."""

from __future__ import annotations

import itertools
import os
import runpy
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool.gateway.http import frames
from chromepool.gateway.http.frames import FrameError, FrameReader, Opcode

_LIMIT = 100_000


def _frame(opcode: int, payload: bytes, *, final: bool = True, masked: bool = True) -> bytes:
    """A client's frame."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((opcode | (0x80 if final else 0), size | bit))
    elif size < 65536:
        head = bytes((opcode | (0x80 if final else 0), 126 | bit)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode | (0x80 if final else 0), 127 | bit)) + size.to_bytes(8, "big")
    mask = os.urandom(4) if masked else b""
    return head + mask + (frames.unmask(payload, mask) if masked else payload)


def _feed(data: bytes, *cuts: int) -> list[tuple[int, bytes]]:
    reader = FrameReader(_LIMIT)
    found = []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        found += reader.feed(data[start:end])
    return found


@given(
    st.lists(st.one_of(st.integers(0, 200), st.integers(65_000, 66_000)), max_size=8),
    st.lists(st.integers(0, 1000), max_size=30),
)
def test_any_cut_of_any_frames_gives_the_same_messages(sizes: list[int], cuts: list[int]) -> None:
    payloads = [bytes((size + index) % 256 for index in range(size)) for size in sizes]
    data = b"".join(_frame(Opcode.TEXT, payload) for payload in payloads)
    places = [cut * len(data) // 1000 for cut in cuts]
    assert _feed(data, *places) == [(Opcode.TEXT, payload) for payload in payloads]


@given(st.binary(max_size=1000), st.binary(min_size=4, max_size=4))
def test_unmask_is_its_own_inverse_and_an_xor(payload: bytes, mask: bytes) -> None:
    masked = frames.unmask(payload, mask)
    assert masked == bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    assert frames.unmask(masked, mask) == payload


@given(st.binary(max_size=5000), st.binary(min_size=4, max_size=4))
def test_unmask_in_c_and_in_python_give_the_same(payload: bytes, mask: bytes) -> None:
    assert frames.unmask(payload, mask) == frames.unmask_in_python(payload, mask)


def test_unmask_is_in_c_where_there_is_one() -> None:
    speedups = pytest.importorskip("websockets.speedups")
    assert frames.unmask is speedups.apply_mask


def test_unmask_is_in_python_where_there_is_no_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    names = runpy.run_path(frames.__file__)
    assert names["unmask"] is names["unmask_in_python"]


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_frame_errors(data: bytes) -> None:
    codes = []
    try:
        FrameReader(_LIMIT).feed(data)
    except FrameError as error:
        codes.append(error.code)
    assert set(codes) <= {1002, 1009}


def test_byte_by_byte() -> None:
    data = _frame(Opcode.TEXT, b"x" * 300) + _frame(Opcode.PING, b"p")
    assert _feed(data, *range(len(data))) == [(Opcode.TEXT, b"x" * 300), (Opcode.PING, b"p")]


def test_fragments_are_joined_and_control_frames_come_between() -> None:
    data = (
        _frame(Opcode.TEXT, b"a", final=False)
        + _frame(Opcode.PING, b"!")
        + _frame(Opcode.CONTINUATION, b"b", final=False)
        + _frame(Opcode.CONTINUATION, b"c")
        + _frame(Opcode.TEXT, b"d")
    )
    assert _feed(data) == [(Opcode.PING, b"!"), (Opcode.TEXT, b"abc"), (Opcode.TEXT, b"d")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_frame(Opcode.TEXT, b"x", masked=False), 1002),
        (_frame(Opcode.CONTINUATION, b"x"), 1002),
        (_frame(Opcode.TEXT, b"x", final=False) + _frame(Opcode.TEXT, b"y"), 1002),
        (_frame(Opcode.PING, b"x", final=False), 1002),
        (_frame(Opcode.PING, b"x" * 126), 1002),
        (_frame(3, b"x"), 1002),
        (_frame(0xB, b"x"), 1002),
        (_frame(0x41, b"x"), 1002),
        (_frame(Opcode.TEXT, b"x" * (_LIMIT + 1)), 1009),
        (b"\x81\xff" + (1 << 62).to_bytes(8, "big"), 1009),
        (
            _frame(Opcode.TEXT, b"x" * 60_000, final=False)
            + _frame(Opcode.CONTINUATION, b"x" * 60_000, final=False),
            1009,
        ),
    ],
    ids=range(11),  # the data differ in every run by their masks
)
def test_faults(data: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        _feed(data)
    assert caught.value.code == code
    assert caught.value.reason


def test_a_message_of_just_the_limit_passes() -> None:
    assert _feed(_frame(Opcode.TEXT, b"x" * _LIMIT))[0][1] == b"x" * _LIMIT


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_heads_of_our_own(size: int) -> None:
    head = frames.text_head(size)
    assert head[0] == 0x81
    assert len(head) == (2 if size < 126 else 4 if size < 65536 else 10)


def test_a_close_reason_is_cut_within_what_fits_and_between_characters() -> None:
    frame = frames.close(1011, "é" * 100)
    assert len(frame) <= 2 + 125
    assert frame[4:].decode() == "é" * 61


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (b"\x03\xe8bye", 1000)])
def test_close_codes(payload: bytes, code: int) -> None:
    assert frames.parse_close(payload) == code


@pytest.mark.parametrize("payload", [b"x", b"\x03\xed", b"\x00\x00", b"\xff\xff"])
def test_close_codes_that_are_none(payload: bytes) -> None:
    with pytest.raises(FrameError):
        frames.parse_close(payload)
