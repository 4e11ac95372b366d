"""The wire: what goes in comes out, nothing else comes out, and no descriptor is lost."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import datetime
import json
import math
import os
import socket
import struct
import threading
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool import wire
from chromepool.channel import Channel
from chromepool.config import Settings
from chromepool.errors import StartFailed, WireError
from chromepool.gateway.handover import snapshot as record
from chromepool.gateway.spec import SessionSpec
from chromepool.model import ChromeOptions, Exit, File, Host, Limits, Usage
from chromepool.supervisor.chrome import downloads
from chromepool.supervisor.chrome.launcher import check_limits

Pair = tuple[socket.socket, socket.socket]
KINDS = tuple(wire.KINDS.values())


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = wire.pair()
    with left, right:
        yield left, right


# -- any message, made from the annotations of its fields --

TEXTS = st.text(max_size=20)
LONGEST = 2**64 - 1
JSON = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | TEXTS, max_size=3)


def _values(kind: Any) -> st.SearchStrategy[Any]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _messages(kind)
    if origin in (types.UnionType, typing.Union):
        return st.none() | _values(inner[0])
    if origin is tuple:
        return st.lists(_values(inner[0]), max_size=3).map(tuple)
    if origin is dict:
        return JSON
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return {int: st.integers(-LONGEST, LONGEST), float: finite, str: TEXTS, bool: st.booleans()}[
        kind
    ]


def _messages(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{k: _values(v) for k, v in typing.get_type_hints(kind).items()})


ANY_MESSAGE = st.one_of([_messages(kind) for kind in KINDS])
LIMITS = Limits(1, 2, 3, 4.0, 5, 6)
HOST = Host(True, "v1", ("memory",), True, True, "/chrome", ("a", "b"))
ONE_OF_EACH: list[wire.Message] = [
    wire.Welcome(Settings().values(), HOST, {"ci": "0" * 64}),
    wire.Welcome({}, HOST, {}, drain=wire.Drain(deadline=1.5, leave=True), adopting=2),
    wire.Adopt(1, 2, "/p"),
    wire.Remember(1),
    wire.Handover(1.5),
    wire.Reloading("no"),
    wire.Drain(False),
    wire.Loaded(),
    wire.Ready(),
    wire.Ping(),
    wire.Pong(),
    wire.Leave(),
    wire.Buried(7),
    wire.Reload(),
    wire.Spawn(1, LIMITS),
    wire.Spawn(1, LIMITS, protocol_port=True),
    wire.Spawn(1, LIMITS, ChromeOptions("http://p:1", "", True, ("--lang=de",), "uid_1/shop")),
    wire.Freeze(1),
    wire.Thaw(1, LIMITS),
    wire.Spawned(1, 2, "/p"),
    wire.SpawnFailed(1, "no room", "make some"),
    wire.Stop(1, 2.5),
    wire.Inspect(1),
    wire.Inspected(1, Usage(), "\x1b[31mred\ud800 \U0001f600\0"),
    wire.FileRequest(1, 2, "open", "a b.txt"),
    wire.FileAnswer(1, (File("a", 2, 3.5),)),
    wire.FileAnswer(1, (), "no such file"),
    wire.Exited(1, Exit(None, "SIGKILL", 3, "words")),
    wire.Gone(1, Usage(1, 2, 3.5, 4, 5, 6)),
    wire.Shutdown(30.0),
]


def test_there_is_one_of_each() -> None:
    assert {type(message) for message in ONE_OF_EACH} == set(KINDS)


def test_every_message_comes_out_as_it_went_in() -> None:
    for message in ONE_OF_EACH:
        assert wire.decode(wire.encode(message)) == message


@given(ANY_MESSAGE)
def test_any_message_comes_out_as_it_went_in(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


def test_settings_survive_the_welcome() -> None:
    welcome = wire.decode(wire.encode(ONE_OF_EACH[0]))
    assert isinstance(welcome, wire.Welcome)
    assert Settings.from_values(welcome.settings) == Settings()


# -- what is no message --


@given(st.binary(max_size=200))
def test_bytes_are_a_message_or_a_wire_error(packet: bytes) -> None:
    with contextlib.suppress(WireError):
        wire.decode(packet)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_MESSAGE, st.data())
def test_a_spoilt_message_is_a_message_or_a_wire_error(
    message: wire.Message, data: st.DataObject
) -> None:
    body = json.loads(wire.encode(message))
    name = data.draw(st.sampled_from(sorted(body)))
    body[name] = data.draw(VALUES)
    with contextlib.suppress(WireError):
        decoded = wire.decode(json.dumps(body).encode())
        assert isinstance(decoded, KINDS)
        assert wire.decode(wire.encode(decoded)) == decoded


@given(st.data())
def test_a_cut_or_flipped_message_is_a_message_or_a_wire_error(data: st.DataObject) -> None:
    packet = bytearray(wire.encode(data.draw(st.sampled_from(ONE_OF_EACH))))
    at = data.draw(st.integers(0, len(packet) - 1))
    packet[at] ^= data.draw(st.integers(1, 255))
    for bad in (packet, packet[:at], packet * 2):
        with contextlib.suppress(WireError):
            wire.decode(bytes(bad))


BAD_PACKETS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"Ready"',
    b'["kind"]',
    b'{"kind":null}',
    b'{"kind":["Ready"]}',
    b'{"kind":"ready"}',
    b'{"kind":"Message"}',
    b'{"kind":"Usage"}',
    b'{"kind":"Ready","key":1}',
    b'{"kind":"Ready"}\0',
    b'{"kind":"Ready"}{"kind":"Ready"}',
    b'{"kind":"Inspect"}',
    b'{"kind":"Inspect","key":true}',
    b'{"kind":"Inspect","key":1.0}',
    b'{"kind":"Inspect","key":"1"}',
    b'{"kind":"Inspect","key":null}',
    b'{"kind":"Inspect","key":[1]}',
    b'{"kind":"Inspect","key":' + b"9" * 5000 + b"}",
    b'{"kind":"Inspect","key":1,"kez":1}',
    b'{"kind":"Stop","key":1,"grace_s":true}',
    b'{"kind":"Stop","key":1,"grace_s":NaN}',
    b'{"kind":"Stop","key":1,"grace_s":-Infinity}',
    b'{"kind":"Stop","key":1,"grace_s":1e999}',
    b'{"kind":"Stop","key":1,"grace_s":1' + b"0" * 400 + b"}",
    b'{"kind":"Stop","key":1,"grace_s":"1"}',
    b'{"kind":"Spawn","key":1,"limits":{}}',
    b'{"kind":"Spawn","key":1,"limits":[]}',
    b'{"kind":"Spawn","key":1,"limits":null}',
    b'{"kind":"SpawnFailed","key":1,"detail":1,"remedy":""}',
    b"[" * 100_000,
    b'{"kind":"Welcome","settings":' + b"[" * 50_000,
    b'{"kind":"Welcome","settings":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}",
]


def test_numbers_have_a_length() -> None:
    for number in (LONGEST, -LONGEST):
        assert wire.decode(wire.encode(wire.Inspect(number))) == wire.Inspect(number)
    for number in (LONGEST + 1, -LONGEST - 1, 10**4000):
        with pytest.raises(WireError, match="64 bits"):
            wire.decode(wire.encode(wire.Inspect(number)))


def test_half_a_character_names_no_file(tmp_path: Path) -> None:
    """JSON can escape it, and the file system cannot encode it."""
    (tmp_path / downloads.FOLDER).mkdir()
    child: Any = types.SimpleNamespace(profile=tmp_path, uid=None)
    for verb in ("open", "remove"):
        request = wire.decode(wire.encode(wire.FileRequest(1, 2, verb, "a\udfff.txt")))
        assert isinstance(request, wire.FileRequest)
        assert downloads.answer(request, child) == (wire.FileAnswer(1, error="no such file"), ())


def test_bad_packets() -> None:
    for packet in BAD_PACKETS:
        with pytest.raises(WireError):
            raise AssertionError(f"{packet[:60]!r} is {wire.decode(packet)}")


def test_every_field_is_needed_and_typed() -> None:
    for message in ONE_OF_EACH:
        body = json.loads(wire.encode(message))
        hints = typing.get_type_hints(type(message))
        for name in hints:
            wrong = 1 if hints[name] in (str, bool) else "1"
            with pytest.raises(WireError):
                wire.decode(json.dumps(body | {name: wrong}).encode())
            field = type(message).__dataclass_fields__[name]
            if field.default is field.default_factory is dataclasses.MISSING:
                less = {key: value for key, value in body.items() if key != name}
                with pytest.raises(WireError):
                    wire.decode(json.dumps(less).encode())


def test_a_float_may_be_written_as_a_whole_number() -> None:
    decoded = wire.decode(b'{"kind":"Stop","key":1,"grace_s":2}')
    assert isinstance(decoded, wire.Stop)
    assert type(decoded.grace_s) is float


@given(_messages(Limits))
def test_no_limits_from_the_wire_pass_beyond_the_operators(limits: Limits) -> None:
    """The gateway is not trusted: what check_limits lets through must be a number in bounds."""
    allowed = Settings()
    decoded = wire.decode(wire.encode(wire.Spawn(1, limits)))
    assert isinstance(decoded, wire.Spawn)
    with contextlib.suppress(StartFailed):
        check_limits(decoded.limits, allowed)
        most = dataclasses.asdict(allowed.session_limits) | {"cpu_cores": math.inf}
        for name, value in dataclasses.asdict(decoded.limits).items():
            assert 0 <= value <= most[name]


# -- descriptors --


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_descriptors_come_along_and_are_close_on_exec(pair: Pair) -> None:
    left, right = pair
    read, write = os.pipe()
    os.set_inheritable(write, True)
    wire.send(left, wire.Spawned(1, 2, "/p"), (read, write))
    os.close(read)
    os.close(write)
    received = wire.receive(right)
    assert received is not None
    message, fds = received
    assert message == wire.Spawned(1, 2, "/p")
    assert [os.get_inheritable(fd) for fd in fds] == [False, False]
    os.write(fds[1], b"through")
    assert os.read(fds[0], 100) == b"through"
    for fd in fds:
        os.close(fd)


def _send_raw(sock: socket.socket, packet: bytes, fds: list[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([packet], rights)


def test_a_bad_packet_leaves_no_descriptor(pair: Pair) -> None:
    left, right = pair
    null = os.open(os.devnull, os.O_RDONLY)
    good, before = wire.encode(wire.Ready()), _open_fds()
    for packet, count in [
        *((packet, 2) for packet in BAD_PACKETS if len(packet) < wire.PACKET_BYTES),
        (good, 5),  # more than there is room for
        (good, 200),
        (b"{" * (wire.PACKET_BYTES + 1), 2),  # longer than is read
    ]:
        _send_raw(left, packet, [null] * count)
        with pytest.raises(WireError):
            wire.receive(right)
        assert _open_fds() == before, (packet[:40], count)
    os.close(null)


def test_messages_keep_their_own_descriptors(pair: Pair) -> None:
    left, right = pair
    null = os.open(os.devnull, os.O_RDONLY)
    for number in range(6):
        wire.send(left, wire.Inspect(number), (null,) * (number % 3))
    for number in range(6):
        received = wire.receive(right)
        assert received is not None
        assert received[0] == wire.Inspect(number)
        assert len(received[1]) == number % 3
        for fd in received[1]:
            os.close(fd)
    os.close(null)


# -- the ends --


def test_the_longest_message_goes_through(pair: Pair) -> None:
    left, right = pair
    room = wire.PACKET_BYTES - len(wire.encode(wire.SpawnFailed(1, "", "")))
    longest = wire.SpawnFailed(1, "x" * room, "")
    left.setblocking(False)
    wire.send(left, longest)
    assert wire.receive(right) == (longest, [])
    with pytest.raises(WireError):
        wire.send(left, wire.SpawnFailed(1, "x" * (room + 1), ""))
    wire.send(left, wire.Ready())
    assert wire.receive(right) == (wire.Ready(), [])


def test_the_worst_last_words_fit(pair: Pair) -> None:
    """Chrome's stderr is kept to 8 KiB, and JSON may write each byte as six."""
    worst = "\0\ufffd" * 4096
    wire.send(pair[0], wire.Exited(1, Exit(1, "SIGKILL", 2**63, worst)))
    received = wire.receive(pair[1])
    assert received is not None
    assert isinstance(received[0], wire.Exited)
    assert received[0].exit.stderr == worst


def test_the_worst_list_of_downloads_fits(tmp_path: Path, pair: Pair) -> None:
    folder = tmp_path / downloads.FOLDER
    folder.mkdir()
    names = {f"{number:03}" + "\u0416" * 126 for number in range(200)}  # 255 bytes each
    for name in names:
        (folder / name).touch()
    (folder / ("\x01" * 255)).touch()
    files = downloads.list_files(tmp_path, None)
    wire.send(pair[0], wire.FileAnswer(1, files))
    received = wire.receive(pair[1])
    assert received is not None
    assert received[0] == wire.FileAnswer(1, files)
    assert 60 <= len(files) < 200


def test_a_message_that_is_too_long_holds_up_no_other(pair: Pair) -> None:
    end, null = Channel(pair[0]), os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(WireError, match="too long"):
        end.send(wire.SpawnFailed(1, "x" * wire.PACKET_BYTES, ""), (null,))
    assert not _is_open(null)
    end.send(wire.Ping())
    assert wire.receive(pair[1]) == (wire.Ping(), [])


def test_a_passed_socket_that_lingers_is_closed_at_once() -> None:
    """Its close would wait for a peer that reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with other:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.send(b"x" * 65536)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
            fd = one.detach()
            closing = threading.Thread(target=wire.close_foreign, args=(fd,), daemon=True)
            closing.start()
            closing.join(60)
            assert not closing.is_alive()
            assert not _is_open(fd)


def test_only_what_nobody_can_change_is_sealed(tmp_path: Path) -> None:
    created, plain = datetime.datetime.now(datetime.UTC), os.memfd_create("plain")
    sealed = record.write(
        record.SessionSnapshot("i", "g", SessionSpec("uid:0", LIMITS), created, 1.0, 2.0)
    )
    read, write = os.pipe()
    with (tmp_path / "file").open("w") as file:
        fds = [plain, file.fileno(), read, write, sealed]
        assert [wire.is_sealed(fd) for fd in fds] == [False, False, False, False, True]
    for fd in (plain, sealed, read, write):
        os.close(fd)


def test_a_closed_peer(pair: Pair) -> None:
    left, right = pair
    wire.send(left, wire.Ready())
    left.close()
    assert wire.receive(right) == (wire.Ready(), [])  # what was said before still counts
    assert wire.receive(right) is None
    assert wire.receive(right) is None
    with pytest.raises(BrokenPipeError):
        wire.send(right, wire.Ready())


def test_a_peer_that_does_not_read(pair: Pair) -> None:
    left, right = pair
    left.setblocking(False)
    right.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 100_000:
            wire.send(left, wire.Inspect(sent))
            sent += 1
    assert 0 < sent < 100_000
    for number in range(sent):
        assert wire.receive(right) == (wire.Inspect(number), [])
    with pytest.raises(BlockingIOError):
        wire.receive(right)


# -- the supervisor's end --


def test_the_supervisors_end_queues_in_order_and_closes_what_it_sent(pair: Pair) -> None:
    left, right = pair
    end = Channel(left)
    total, fds = 0, []
    while not end.unsent or total < 3000:
        fd = os.open(os.devnull, os.O_RDONLY) if total % 500 == 0 else -1
        fds += [fd] if fd >= 0 else []
        end.send(wire.Inspect(total), (fd,) if fd >= 0 else ())
        total += 1
    assert any(_is_open(fd) for fd in fds)  # those that wait are still held
    for number in range(total):
        received = wire.receive(right)
        assert received is not None
        assert received[0] == wire.Inspect(number)
        for fd in received[1]:
            os.close(fd)
        end.flush()
    assert not end.unsent
    assert not any(_is_open(fd) for fd in fds)


def _fill(end: Channel) -> int:
    """Sends until it is refused; a descriptor that waits in the queue."""
    while not end.unsent:
        end.send(wire.Ready())
    fd = os.open(os.devnull, os.O_RDONLY)
    end.send(wire.Ready(), (fd,))
    with contextlib.suppress(BrokenPipeError):
        for _ in range(100_000):
            end.send(wire.Ready())
        raise AssertionError("the queue has no bound")
    return fd


def test_the_supervisors_end_has_a_bound_and_closes_what_waits(pair: Pair) -> None:
    end = Channel(pair[0])
    fd = _fill(end)
    pair[1].close()
    end.close()
    assert not end.unsent
    assert not _is_open(fd)


def test_descriptors_of_what_is_no_message_are_closed(pair: Pair) -> None:
    end, null = Channel(pair[0]), os.open(os.devnull, os.O_RDONLY)
    before = _open_fds()
    _send_raw(pair[1], b"", [null] * 4)
    with pytest.raises(WireError):
        end.receive()
    assert _open_fds() == before
    os.close(null)


def test_a_full_queue_does_not_lose_the_callers_descriptors(pair: Pair) -> None:
    """``send`` takes them over; when it refuses, somebody must still close them."""
    end = Channel(pair[0])
    _fill(end)
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(BrokenPipeError):
        end.send(wire.Spawned(1, 2, "/p"), (fd,))
    assert not _is_open(fd)
    end.close()


def test_usage_on_the_wire_and_in_the_api_is_the_same() -> None:
    usage = Usage(cpu_stall_s=1.0, memory_stall_s=2.0, io_stall_s=3.0)
    message = wire.Inspected(1, usage, "")
    assert wire.decode(wire.encode(message)) == message
    assert "io_stall_s" in {field.name for field in dataclasses.fields(Usage)}
