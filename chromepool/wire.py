"""The wire between supervisor and gateway: small JSON messages, some with file descriptors.

The wire is an ``AF_UNIX`` ``SOCK_SEQPACKET`` pair: one packet is one message, and descriptors stay
with their message (unix(7)). Both ends check what they read: a message of another shape than the
dataclasses below raises :class:`~chromepool.errors.WireError`. The two may be of different versions
of the daemon, so names of messages and fields stay, and new fields have defaults.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import stat
import struct
import sys
import types
import typing
from typing import Any

from chromepool.errors import WireError
from chromepool.model import ChromeOptions, Exit, File, Host, Limits, Usage

PACKET_BYTES = 128 * 1024
"""Longest message, well below the default socket buffer (net.core.wmem_default, 208 KiB)."""
_MAX_FDS = 4
_INT_BITS = 64
"""Longest number. Keys are counted up from it, and Python prints no number of 4,300 digits."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A message of the wire: one of the dataclasses below."""


@dataclasses.dataclass(frozen=True, slots=True)
class Welcome(Message):
    """Supervisor to gateway, before all others: the settings and the machine."""

    settings: dict[str, Any]
    host: Host
    tokens: dict[str, str]
    """Name of a token → its digest."""
    webhook_secret: str = dataclasses.field(default="", repr=False)
    restarts: int = 0
    """Number of gateways that this supervisor has started before."""
    deaths: int = 0
    """Number of those that died, or were killed because they hung."""
    failures: int = 0
    """Number of those deaths within the last five minutes."""
    adopting: int = 0
    """Number of :class:`Adopt` messages that follow."""
    next_key: int = 1
    """Lowest key that no session ever had."""
    drain: Drain | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Drain(Message):
    """Gateway to supervisor, for the next gateway: the daemon drains, or not any more."""

    on: bool = True
    deadline: float | None = None
    """Time at which the remaining sessions are ended (CLOCK_MONOTONIC); None: never."""
    leave: bool = False
    """True if the daemon exits when the last session is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Leave(Message):
    """Gateway to supervisor: the drain is complete, and the daemon is to exit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Buried(Message):
    """Gateway to supervisor: the end of a session is recorded, and may be forgotten."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded(Message):
    """Gateway to supervisor, before all others: its code is imported, it waits for the welcome."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ready(Message):
    """Gateway to supervisor: both sockets are served."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ping(Message):
    """Supervisor to gateway: a request for a sign of life."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pong(Message):
    """Gateway to supervisor: the answer to :class:`Ping`, as its event loop runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reload(Message):
    """Gateway to supervisor: a client asks for a reload of the settings and a new gateway."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reloading(Message):
    """Supervisor to gateway: the answer; :class:`Handover` follows if there is no error."""

    error: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Handover(Message):
    """Supervisor to gateway: another is ready. Leave within ``timeout_s``; sessions stay."""

    timeout_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Remember(Message):
    """Gateway to supervisor: the snapshot of a session, for the next gateway. Carries one
    descriptor, of a sealed file in memory that the supervisor does not read."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Adopt(Message):
    """Supervisor to gateway: a session of the gateway before. Carries three descriptors: commands
    in, events out, and its last snapshot."""

    key: int
    pid: int
    profile: str


@dataclasses.dataclass(frozen=True, slots=True)
class Spawn(Message):
    """Gateway to supervisor: start a Chrome under these limits."""

    key: int
    """The gateway's number for the session, whose id crosses the wire only in a snapshot."""
    limits: Limits
    launch: ChromeOptions = dataclasses.field(default_factory=ChromeOptions)
    protocol_port: bool = False
    """True if to open a DevTools port, as for the Chrome that ``/json/protocol`` is read from."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spawned(Message):
    """Supervisor to gateway: Chrome runs. Carries two descriptors: commands in, events out."""

    key: int
    pid: int
    profile: str
    """Path of its profile folder."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpawnFailed(Message):
    """Supervisor to gateway: Chrome did not start, and nothing is left of the attempt."""

    key: int
    detail: str
    remedy: str
    code: str = "start_failed"
    """Error code; ``profile_in_use`` and ``invalid_request`` are the request's fault."""


@dataclasses.dataclass(frozen=True, slots=True)
class Freeze(Message):
    """Gateway to supervisor: stop all processes of a warm session."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Thaw(Message):
    """Gateway to supervisor: let a warm session run again, under its owner's limits."""

    key: int
    limits: Limits


@dataclasses.dataclass(frozen=True, slots=True)
class Stop(Message):
    """Gateway to supervisor: send SIGTERM, and after ``grace_s`` SIGKILL to the whole session."""

    key: int
    grace_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Inspect(Message):
    """Gateway to supervisor: a request for a session's usage."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Inspected(Message):
    """Supervisor to gateway: the answer to :class:`Inspect`."""

    key: int
    usage: Usage
    stderr: str
    process: str = ""
    """State of Chrome's main process as in /proc/pid/stat: S sleeps, R runs, T is stopped."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileRequest(Message):
    """Gateway to supervisor: ``list`` a session's downloads, ``open`` or ``remove`` one."""

    number: int
    """Number of the request, which its answer has too."""
    key: int
    verb: str
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class FileAnswer(Message):
    """Supervisor to gateway: the answer. Carries the descriptor of a file that was opened."""

    number: int
    files: tuple[File, ...] = ()
    error: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Exited(Message):
    """Supervisor to gateway: the session's Chrome is dead; the rest is being removed."""

    key: int
    exit: Exit


@dataclasses.dataclass(frozen=True, slots=True)
class Gone(Message):
    """Supervisor to gateway: every process, control group and file of the session is gone."""

    key: int
    usage: Usage
    """Resources it had used when it ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shutdown(Message):
    """Supervisor to gateway: end every session within ``timeout_s``, then exit."""

    timeout_s: float


KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__subclasses__()}
"""Message classes by name. ``slots=True`` makes a class twice, and the second is the one in use."""


def encode(message: Message) -> bytes:
    """Return a message as a packet."""
    body = dataclasses.asdict(message)
    return json.dumps({"kind": type(message).__name__, **body}).encode()


def _build(kind: Any, value: Any, path: str) -> Any:
    """Return ``value`` as an instance of the annotation ``kind``, strictly."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_struct(kind, value, path)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in typing.get_args(kind):
            return None
        return _build(typing.get_args(kind)[0], value, path)
    if origin is tuple and isinstance(value, list):
        return tuple(_build(typing.get_args(kind)[0], item, path) for item in value)
    if kind is float:
        return _build_float(value, path)
    if type(value) is not (origin or kind):
        raise WireError(f"{path} is {type(value).__name__}, not {kind}.")
    if type(value) is int and value.bit_length() > _INT_BITS:
        raise WireError(f"{path} is a number of more than {_INT_BITS} bits.")
    return value


def _build_float(value: Any, path: str) -> float:
    """Refuse NaN, which passes every comparison with a bound, and infinity, which int() refuses."""
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise WireError(f"{path} is not a finite number.")
    return float(value)


def _build_struct(kind: type, value: Any, path: str) -> Any:
    hints = typing.get_type_hints(kind)
    needed = hints.keys() if kind is Limits else set()  # the defaults are for stored sessions
    if not isinstance(value, dict) or not needed <= value.keys() <= hints.keys():
        raise WireError(f"{path} does not have the fields of {kind.__name__}.")
    fields = {name: _build(hints[name], item, f"{path}.{name}") for name, item in value.items()}
    try:
        return kind(**fields)
    except TypeError as error:
        raise WireError(f"{path}: {error}.") from None


def decode(packet: bytes) -> Message:
    """Return the message in a packet; raises :class:`WireError` for anything else."""
    try:
        body = json.loads(packet)
        kind = KINDS[body.pop("kind")]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise WireError(f"A packet has no message: {packet[:80]!r}.") from error
    return typing.cast(Message, _build_struct(kind, body, kind.__name__))


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new wire."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """Send one message; raises OSError, BlockingIOError where the other end lags."""
    packet = encode(message)
    if len(packet) > PACKET_BYTES:
        raise WireError(f"{type(message).__name__} is too long: {len(packet)} bytes.")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([packet], rights)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """Return one message and its descriptors, or None when the other end is closed.

    The caller must close the descriptors. They are close-on-exec.
    """
    packet, rights, flags, _ = sock.recvmsg(
        PACKET_BYTES, socket.CMSG_SPACE(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
    )
    fds = array.array("i")
    for level, kind, data in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    try:
        if not packet and not fds:
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise WireError("A message was truncated.")
        return decode(packet), fds.tolist()
    except WireError:
        for fd in fds:
            close_foreign(fd)
        raise


def is_sealed(fd: int) -> bool:
    """Return whether it is a file in memory that cannot change any more (memfd_create(2)).

    What is read from it later is what was passed, and closing it never blocks.
    """
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
    except OSError:
        return False


def close_foreign(fd: int) -> None:
    """Close what the other end has passed, at once even if it is a socket with SO_LINGER, whose
    close would wait for its peer (socket(7))."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    os.close(fd)
