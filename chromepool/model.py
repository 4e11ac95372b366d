"""The nouns both processes speak of: launch options, limits, usage, ends of sessions, the host."""

from __future__ import annotations

import dataclasses
import enum


class State(enum.StrEnum):
    """Where a session is in its life; the moves between them are in ``pool.session``."""

    STARTING = "starting"
    READY = "ready"
    CLOSING = "closing"
    CLOSED = "closed"


class Reason(enum.StrEnum):
    """Why a session ended."""

    DELETED = "deleted"
    CLIENT_CLOSED = "client_closed"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
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


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a session uses now. ``None`` where nothing on this machine can tell."""

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    cpu_s: float | None = None
    processes: int | None = None
    oom_kills: int | None = None
    pids_refused: int | None = None


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
