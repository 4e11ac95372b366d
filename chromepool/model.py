"""The nouns of both processes: limits, usage, Chrome's options, ends of sessions, the host."""

from __future__ import annotations

import dataclasses
import enum


class State(enum.StrEnum):
    """State of a session."""

    STARTING = "starting"
    RESUMING = "resuming"
    """A new gateway adopts it from the one before."""
    READY = "ready"
    FROZEN = "frozen"
    """It is warm: it waits for a request, and takes no CPU time."""
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
    """Its Chrome did not answer a health check, the next gateway or a wake-up, or broke the
    protocol."""
    DRAINED = "drained"
    """It was left at a drain's deadline; or it was warm, and the pool needed its slot or fewer
    warm ones."""
    START_FAILED = "start_failed"
    SHUTDOWN = "shutdown"


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The caps of one session. Zero means "no cap" only where it says so."""

    memory_bytes: int
    """Hard memory cap of the session's cgroup."""
    heap_bytes: int
    """V8 old space of each renderer (``--max-old-space-size``)."""
    pids: int
    """Processes and threads the session may have at once."""
    cpu_cores: float
    """Cores' worth of CPU time; 0 is no cap."""
    files: int
    """RLIMIT_NOFILE of each process."""
    file_bytes: int
    """RLIMIT_FSIZE of each process."""
    cpu_weight: int = 100
    """Share of the CPU beside other sessions, 1 to 10,000, as in cgroup v2."""


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
    """Whether each session has a private /tmp and /dev/shm."""
    sandbox: bool
    """Whether Chrome's own sandbox is on."""
    chrome: str
    """Path of the Chrome that sessions get."""
    warnings: tuple[str, ...] = ()
    freezer: bool = False
    """Whether a warm Chrome can be frozen."""
    memory_group: str = ""
    """Control group that counts the memory of all sessions; empty where there is none."""
    memory_bound: str = ""
    """Group the daemon itself is in, such as a container's, where ``memory_group`` is empty."""

    @property
    def counted_in(self) -> str:
        """Control group whose memory, with that of the groups above it, bounds all sessions."""
        return self.memory_group or self.memory_bound
