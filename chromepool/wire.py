"""The narrow wire between supervisor and gateway: small JSON messages, some with file descriptors.

It is an ``AF_UNIX`` ``SOCK_SEQPACKET`` pair: one packet is one message, and the descriptors that
belong to a message can come with no other (unix(7)). Both ends check what they read: a message of
another shape than the dataclasses below raises :class:`~chromepool.errors.WireError`.
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
"""Largest message; well under the default socket buffer (net.core.wmem_default, 208 KiB)."""
_MAX_FDS = 4
_INT_BITS = 64
"""Numbers are counted on from what is received, and a longer one can end as one too long to say."""


@dataclasses.dataclass(frozen=True, slots=True)
class Welcome:
    """Supervisor to gateway, first of all: the settings and what the machine is like."""

    settings: dict[str, Any]
    host: Host
    tokens: dict[str, str]
    """Name → digest."""
    webhook_secret: str = dataclasses.field(default="", repr=False)
    restarts: int = 0
    """How many gateways of this supervisor's there were before,"""
    deaths: int = 0
    """how many of them died, or were ended because they hung,"""
    failures: int = 0
    """and how many of those within the last five minutes."""
    adopting: int = 0
    """How many :class:`Adopt` follow at once."""
    next_key: int = 1
    """The lowest number that no session ever had."""
    drain: Drain | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Drain:
    """Gateway to supervisor, to be remembered: no new sessions. Taken back by one that is not
    ``on``."""

    on: bool = True
    deadline: float | None = None
    """When those that still run are ended (CLOCK_MONOTONIC); None: never."""
    leave: bool = False
    """Whether the daemon exits when the last is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """Gateway to supervisor: all is drained, and the daemon was to exit then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Buried:
    """Gateway to supervisor: the end of a session is written down, and the next gateway need not be
    told of it."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """Gateway to supervisor, first of all: its code is imported, and it waits for its welcome."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """Gateway to supervisor: the listeners are being served."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ping:
    """Supervisor to gateway: are you there?"""


@dataclasses.dataclass(frozen=True, slots=True)
class Pong:
    """Gateway to supervisor: its event loop runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """Gateway to supervisor: somebody wants the settings read again and the gateway replaced."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reloading:
    """Supervisor to gateway: the answer; a :class:`Handover` follows if there is no error."""

    error: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Handover:
    """Supervisor to gateway: another is ready to take over. Leave within ``timeout_s``; the
    sessions stay."""

    timeout_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Remember:
    """Gateway to supervisor: what the next gateway has to know of a session. Carries one
    descriptor, of a sealed file in memory whose content is the gateways' own business."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Adopt:
    """Supervisor to gateway: a session of the gateway before. Carries three descriptors: commands
    in, events out, and what was last remembered of it."""

    key: int
    pid: int
    profile: str


@dataclasses.dataclass(frozen=True, slots=True)
class Spawn:
    """Gateway to supervisor: start a Chrome under these limits."""

    key: int
    """The gateway's number for the session. Its id crosses the wire only in :class:`Remember`'s
    file, which the supervisor does not read."""
    limits: Limits
    launch: ChromeOptions = dataclasses.field(default_factory=ChromeOptions)
    protocol_port: bool = False
    """Also open a DevTools port: only to fetch ``/json/protocol`` once from a Chrome of no one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spawned:
    """Supervisor to gateway: Chrome runs. Carries two descriptors: commands in, events out."""

    key: int
    pid: int
    profile: str
    """Path of its profile folder, which it can write to."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpawnFailed:
    """Supervisor to gateway: no Chrome came of it, and nothing is left of the attempt."""

    key: int
    detail: str
    remedy: str
    code: str = "start_failed"
    """``profile_in_use`` or ``invalid_request`` where it was not a matter of chance."""


@dataclasses.dataclass(frozen=True, slots=True)
class Freeze:
    """Gateway to supervisor: the session waits; its processes are to take no CPU time."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Thaw:
    """Gateway to supervisor: the session has an owner, who gets these limits."""

    key: int
    limits: Limits


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Gateway to supervisor: SIGTERM, then after ``grace_s`` SIGKILL to all of the session."""

    key: int
    grace_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Inspect:
    """Gateway to supervisor: tell what the session uses."""

    key: int


@dataclasses.dataclass(frozen=True, slots=True)
class Inspected:
    """Supervisor to gateway: the answer to :class:`Inspect`."""

    key: int
    usage: Usage
    stderr: str
    process: str = ""
    """State of Chrome's main process, as /proc/pid/stat has it: S sleeps, R runs, T is stopped."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileRequest:
    """Gateway to supervisor: a session's downloads: ``list`` them, ``open`` or ``remove`` one."""

    number: int
    """Of the request, to find its answer by."""
    key: int
    verb: str
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class FileAnswer:
    """Supervisor to gateway: the answer, with a descriptor where one was to be opened."""

    number: int
    files: tuple[File, ...] = ()
    error: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Exited:
    """Supervisor to gateway: the session's Chrome is dead; the rest of it is being removed."""

    key: int
    exit: Exit


@dataclasses.dataclass(frozen=True, slots=True)
class Gone:
    """Supervisor to gateway: every process, cgroup and file of the session is gone."""

    key: int
    usage: Usage
    """What it had used when it ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shutdown:
    """Supervisor to gateway: end every session within ``timeout_s``, then exit."""

    timeout_s: float


Message = (
    Welcome
    | Drain
    | Leave
    | Buried
    | Loaded
    | Ready
    | Ping
    | Pong
    | Reload
    | Reloading
    | Handover
    | Remember
    | Adopt
    | Spawn
    | Spawned
    | SpawnFailed
    | Freeze
    | Thaw
    | Stop
    | Inspect
    | Inspected
    | FileRequest
    | FileAnswer
    | Exited
    | Gone
    | Shutdown
)
_KINDS: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(Message)}


def encode(message: Message) -> bytes:
    """A message as a packet."""
    body = dataclasses.asdict(message)
    return json.dumps({"kind": type(message).__name__, **body}).encode()


def _build(kind: Any, value: Any, path: str) -> Any:
    """``value`` as an instance of the annotation ``kind``, strictly."""
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
    """NaN passes every comparison with a bound, and infinity no int(): neither is a number here."""
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
    """The message in a packet; raises :class:`WireError` for anything else."""
    try:
        body = json.loads(packet)
        kind = _KINDS[body.pop("kind")]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise WireError(f"not a message: {packet[:80]!r}.") from error
    return typing.cast(Message, _build_struct(kind, body, kind.__name__))


def pair() -> tuple[socket.socket, socket.socket]:
    """A wire's two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """Sends one message; raises :class:`OSError`, ``BlockingIOError`` where the peer lags."""
    packet = encode(message)
    if len(packet) > PACKET_BYTES:
        raise WireError(f"a {type(message).__name__} of {len(packet)} bytes is too long.")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([packet], rights)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """One message and its descriptors, or None when the other end is closed.

    The descriptors belong to the caller, who must close them. They are close-on-exec.
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
            raise WireError("a message was cut short.")
        return decode(packet), fds.tolist()
    except WireError:
        for fd in fds:
            close_foreign(fd)
        raise


def is_sealed(fd: int) -> bool:
    """Whether it is a file in memory that nobody can change any more: what is read from it is what
    was passed, and no close of it waits for anybody (memfd_create(2))."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
    except OSError:
        return False


def close_foreign(fd: int) -> None:
    """Closes what the other end has passed. A socket on which it has set SO_LINGER would wait for
    its peer (socket(7))."""
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    os.close(fd)
