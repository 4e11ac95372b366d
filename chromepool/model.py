"""The nouns of both processes: limits, usage, Chrome's options, ends of sessions, the host."""

from __future__ import annotations

import dataclasses
import enum
import functools

from chromepool.setting import GIB, MIB, setting, size


class State(enum.StrEnum):
    """State of a session."""

    STARTING = "starting"
    RESUMING = "resuming"
    """A new gateway adopts it from the one before."""
    READY = "ready"
    FROZEN = "frozen"
    """Warm: waiting for a request, without taking CPU time."""
    CLOSING = "closing"
    CLOSED = "closed"


class Reason(enum.StrEnum):
    """Reason for the end of a session."""

    DELETED = "deleted"
    CLIENT_CLOSED = "client_closed"
    IDLE_TIMEOUT = "idle_timeout"
    MAX_AGE = "max_age"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    UNHEALTHY = "unhealthy"
    """Chrome did not answer a health check, gateway or wake-up, or broke the protocol."""
    DRAINED = "drained"
    """Left at a drain's deadline; or warm, and its slot was needed or there were too many."""
    START_FAILED = "start_failed"
    SHUTDOWN = "shutdown"


_limit = functools.partial(setting, requestable=True, adjustable=True)
"""Declare a limit: ``requestable`` for one session, ``adjustable`` while its Chrome runs. Where the
lowest value is 0, it stands for no cap, and only the operator can set it."""
_size = functools.partial(size, requestable=True, adjustable=True)
"""Declare a limit in bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The caps of one session, declared once: the settings ``session_<name>``, the API's ``limits``
    and the checks of both processes are made from these fields. Every limit has a default, so that
    sessions an older version stored can be adopted.
    """

    memory_bytes: int = _size(512 * MIB, "Hard memory cap of one session.", low=64 * MIB)
    heap_bytes: int = _size(
        100_000_000,
        "JavaScript heap (V8 old space) of each renderer.",
        low=16_000_000,
        alias="MAX_MEMORY_PER_SESSION",
        adjustable=False,
    )
    pids: int = _limit(512, "Processes and threads of one session.", low=64, high=65536)
    cpu_cores: float = _limit(
        0.0, "CPU cores that one session may use; 0, for the operator only, is no cap.", high=4096
    )
    files: int = _limit(
        4096, "Open files of each process.", low=256, high=1 << 20, adjustable=False
    )
    file_bytes: int = _size(
        GIB, "Largest file Chrome may write.", low=16 * MIB, requestable=False, adjustable=False
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
    """Resources that a session uses now; None where this machine does not count one."""

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    cpu_s: float | None = None
    processes: int | None = None
    files: int | None = None
    """Number of open file descriptors of all its processes."""
    oom_kills: int | None = None
    pids_refused: int | None = None
    cpu_stall_s: float | None = None
    """Seconds in which at least one of its processes waited for a CPU (PSI, cgroup v2)."""
    memory_stall_s: float | None = None
    """Seconds in which at least one waited for memory."""
    io_stall_s: float | None = None
    """Seconds in which at least one waited for a disk."""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file that a session has downloaded."""

    name: str
    size: int
    modified: float
    """Time of its last change, in seconds since 1970 (mtime)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """The end of a session's Chrome, as the supervisor saw it."""

    code: int | None = None
    """Exit status; None when a signal ended it."""
    signal: str | None = None
    """Name of the signal that ended it, such as ``SIGSEGV``."""
    oom_kills: int = 0
    """Number of its processes that the kernel killed at its memory cap."""
    stderr: str = ""
    """The last of what Chrome wrote to stderr."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChromeOptions:
    """Options of Chrome that a session may set; :mod:`chromepool.chrome_options` checks them."""

    proxy: str = ""
    """Proxy as ``scheme://host:port``, or ``direct://``; empty: none."""
    proxy_bypass: str = ""
    """Hosts that are reached without the proxy, in Chrome's syntax."""
    ignore_certificate_errors: bool = False
    flags: tuple[str, ...] = ()
    """Further flags, from the allow-list."""
    profile: str = ""
    """Kept profile to use, as ``owner/name``; empty: a new one, removed with the session."""


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """The machine as the supervisor found it at its start."""

    privileged: bool
    cgroup: str
    """Version of the control groups in use: ``v1``, ``v2`` or ``none``."""
    enforced: tuple[str, ...]
    """Resources in which the kernel limits a session, of memory, cpu and pids."""
    private_mounts: bool
    """True if each session has a private /tmp and /dev/shm."""
    sandbox: bool
    """True if Chrome's own sandbox is on."""
    chrome: str
    """Path of the Chrome that sessions get."""
    warnings: tuple[str, ...] = ()
    freezer: bool = False
    """True if a warm Chrome can be frozen."""
    memory_group: str = ""
    """Control group that counts the memory of all sessions; empty where there is none."""
    memory_bound: str = ""
    """Group the daemon itself is in, such as a container's, where ``memory_group`` is empty."""

    @property
    def counted_in(self) -> str:
        """Control group whose memory, with that of the groups above it, bounds all sessions."""
        return self.memory_group or self.memory_bound
