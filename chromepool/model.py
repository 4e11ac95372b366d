"""The nouns both processes speak of: launch options, limits, usage, ends of sessions, the host."""

from __future__ import annotations

import dataclasses
import enum


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
