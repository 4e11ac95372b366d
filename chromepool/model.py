"""The nouns both processes speak of: launch options, limits, usage, ends of sessions, the host."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from chromepool.setting import GIB, MIB, setting


class State(enum.StrEnum):
    """Where a session is in its life; the moves between them are in ``pool.session``."""

    STARTING = "starting"
    RESUMING = "resuming"
    """A new gateway is taking it over from the one before."""
    READY = "ready"
    FROZEN = "frozen"
    """Started ahead, waiting for somebody to want it, and taking no CPU time meanwhile."""
    CLOSING = "closing"
    CLOSED = "closed"


class Reason(enum.StrEnum):
    """Why a session ended."""

    DELETED = "deleted"
    CLIENT_CLOSED = "client_closed"
    IDLE_TIMEOUT = "idle_timeout"
    MAX_AGE = "max_age"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    UNHEALTHY = "unhealthy"
    """Its Chrome did not answer: to health checks, to the next gateway, or when it was woken; or it
    sent what no Chrome sends."""
    DRAINED = "drained"
    """Still there at a drain's deadline; or let go by the pool, which needed its place or wants
    fewer in reserve."""
    START_FAILED = "start_failed"
    SHUTDOWN = "shutdown"


def _limit(
    default: float, text: str, *, requestable: bool = True, adjustable: bool = True, **more: Any
) -> Any:
    """Declare a limit: ``requestable`` for one session, ``adjustable`` while its Chrome runs.

    A limit whose lowest value is 0 has no cap at 0, which only the operator can set.
    """
    return setting(default, text, requestable=requestable, adjustable=adjustable, **more)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The caps of one session, declared once.

    The settings ``session_<name>``, the API's ``limits`` and the checks of both processes are made
    from these fields. Only the enforcement is written for each limit: in the control groups, the
    rlimits or Chrome's command line. Every limit has a default, so that sessions an older version
    stored can be adopted.
    """

    memory_bytes: int = _limit(
        512 * MIB, "Hard memory cap of one session, in bytes.", low=64 * MIB, size=True
    )
    heap_bytes: int = _limit(
        100_000_000,
        "JavaScript heap (V8 old space) of each renderer, in bytes.",
        low=16_000_000,
        size=True,
        alias="MAX_MEMORY_PER_SESSION",
        adjustable=False,
    )
    pids: int = _limit(512, "Processes and threads of one session.", low=64, high=65536)
    cpu_cores: float = _limit(
        0.0, "CPU cores that one session may use; 0, for the operator only, is no cap.", high=4096
    )
    files: int = _limit(
        4096, "Open files of each Chrome process.", low=256, high=1 << 20, adjustable=False
    )
    file_bytes: int = _limit(
        GIB,
        "Largest file that a Chrome process may write, in bytes.",
        low=16 * MIB,
        size=True,
        requestable=False,
        adjustable=False,
    )
    cpu_weight: int = _limit(
        100, "CPU weight of one session relative to others, as in cgroup v2.", low=1, high=10_000
    )

    def beyond(self, most: Limits) -> str:
        """Return the name of the first limit that is not above 0 and up to ``most``, or ""."""
        for field in dataclasses.fields(self):
            value, cap = getattr(self, field.name), getattr(most, field.name)
            if not (0 < value <= (cap or field.metadata["high"]) or value == cap == 0):
                return field.name
        return ""

    def reachable_from(self, started: Limits) -> bool:
        """Report whether a running Chrome that has the limits ``started`` can be given these."""
        return all(
            getattr(self, field.name) == getattr(started, field.name)
            for field in dataclasses.fields(self)
            if not field.metadata["adjustable"]
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a session uses now. ``None`` where nothing on this machine can tell."""

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    cpu_s: float | None = None
    processes: int | None = None
    files: int | None = None
    """Open file descriptors of all its processes."""
    oom_kills: int | None = None
    pids_refused: int | None = None
    cpu_stall_s: float | None = None
    """Seconds in which one of its processes or more waited for a CPU,"""
    memory_stall_s: float | None = None
    """for memory,"""
    io_stall_s: float | None = None
    """or for a disk (PSI, cgroup v2)."""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file that a session has downloaded."""

    name: str
    size: int
    modified: float
    """Seconds of the day (mtime)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """How a session's Chrome ended, as the supervisor saw it."""

    code: int | None = None
    """Exit status, or None when a signal ended it."""
    signal: str | None = None
    """Name of the signal that ended it."""
    oom_kills: int = 0
    """Processes of the session the kernel killed for its memory cap."""
    stderr: str = ""
    """Chrome's last words."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChromeOptions:
    """What a session may ask of Chrome; :mod:`chromepool.chrome_options` checks it."""

    proxy: str = ""
    """``scheme://host:port``, or ``direct://``; empty: the network as it is."""
    proxy_bypass: str = ""
    """Hosts that are reached without the proxy, as Chrome writes the list."""
    ignore_certificate_errors: bool = False
    flags: tuple[str, ...] = ()
    """More flags, from the allow-list."""
    profile: str = ""
    """``owner/name`` of a profile that is kept; empty: a new one that goes with the session."""


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """What the supervisor found out about the machine when it started."""

    privileged: bool
    cgroup: str
    """``v1``, ``v2`` or ``none``."""
    enforced: tuple[str, ...]
    """Which of memory, cpu and pids the kernel holds a session to."""
    private_mounts: bool
    """Whether each session has a /tmp and a /dev/shm of its own."""
    sandbox: bool
    """Whether Chrome's own sandbox is on."""
    chrome: str
    """Path of the Chrome that sessions get."""
    warnings: tuple[str, ...] = ()
    freezer: bool = False
    """Whether a Chrome that waits can be frozen."""
    memory_group: str = ""
    """The control group whose memory all sessions share; empty where there is none."""
    memory_bound: str = ""
    """Where there is none, the group that the daemon was put into: a container's, say."""

    @property
    def counted_in(self) -> str:
        """The control group whose memory, and whose groups' above it, bounds all sessions."""
        return self.memory_group or self.memory_bound
