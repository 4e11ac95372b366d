"""A Chrome and everything that belongs to it, from spawn until nothing of it is left."""

import contextlib
import dataclasses
import enum
import os
import signal
import time
from pathlib import Path

from chromepool.errors import StartFailed
from chromepool.logs import Log
from chromepool.model import Exit, Limits, Usage
from chromepool.supervisor.linux.cgroup.tree import Leaf
from chromepool.supervisor.linux.reaper import split_status
from chromepool.supervisor.linux.spawn import Plan, spawn

log = Log("chromepool.supervisor")

_STDERR_BYTES = 8192
"""Kept of Chrome's stderr: its last errors, small enough for one message on the wire."""
RETRY_S = 0.2
_ATTEMPTS = 5
POLL_S = 0.005
"""Pause between two looks at a dying group: cgroup v1 does not report when it becomes empty."""


class Phase(enum.Enum):
    """The steps of a Chrome's end."""

    RUNNING = "running"
    TERMINATING = "terminating"
    """SIGTERM is sent; SIGKILL follows at ``deadline``."""
    DYING = "dying"
    """SIGKILL is sent to all of its processes; its group is not empty yet."""
    REMOVING = "removing"
    """The group is removed; ``rm`` removes its profile."""
    GONE = "gone"


@dataclasses.dataclass(slots=True)
class ChromeProcess:
    """A Chrome with its control group and profile, which can be frozen, terminated and killed."""

    key: int
    name: str
    """Name of its group and profile folder: not the session's id, as all can read it in /proc."""
    limits: Limits
    leaf: Leaf
    profile: Path
    uid: int | None
    stderr: int
    """Read end of the pipe that its stdout and stderr go to; -1 once closed."""
    kept_profile: str = ""
    """Name of the kept profile in use, which stays, and is locked until the end; empty: none."""
    pipe: tuple[int, int] | None = None
    """Duplicates of the gateway's ends, commands in, events out: Chrome lives while one is open."""
    snapshot_fd: int = -1
    """File with the gateway's snapshot of the session; -1: it is no session yet."""
    pid: int = 0
    pidfd: int = -1
    """The pidfd, where it may outlive the supervisor; -1: it does not."""
    phase: Phase = Phase.RUNNING
    deadline: float = 0.0
    """Time of the next step of its end (monotonic)."""
    exit: Exit | None = None
    usage: Usage = dataclasses.field(default_factory=Usage)
    remover_pid: int = 0
    """Process id of the ``rm`` that removes the profile; 0: none runs."""
    removal_attempts: int = 0
    _stderr_tail: bytes = b""

    @property
    def stderr_tail(self) -> str:
        """The last of what Chrome wrote to stderr."""
        return self._stderr_tail.decode(errors="replace")

    def read_stderr(self) -> bool:
        """Read what stderr has, so that Chrome never blocks on it; return False at its end."""
        try:
            data = os.read(self.stderr, 65536)
        except BlockingIOError:
            return True
        self._stderr_tail = (self._stderr_tail + data)[-_STDERR_BYTES:]
        return bool(data)

    @property
    def has_snapshot(self) -> bool:
        """True once it is a session, and outlives its gateway."""
        return self.snapshot_fd >= 0

    def keep_snapshot(self, snapshot_fd: int) -> None:
        """Keep a snapshot instead of the one before."""
        if self.has_snapshot:
            os.close(self.snapshot_fd)
        self.snapshot_fd = snapshot_fd

    def duplicate_fds(self, undo: contextlib.ExitStack) -> tuple[int, ...]:
        """Return duplicates, which ``undo`` closes: commands in, events out, and any snapshot."""
        duplicates: list[int] = []
        for fd in (*(self.pipe or ()), *([self.snapshot_fd] if self.has_snapshot else [])):
            duplicates.append(os.dup(fd))
            undo.callback(os.close, duplicates[-1])
        return tuple(duplicates)

    def release_fds(self) -> None:
        """Close what was kept for a gateway. May be called twice."""
        for fd in (*(self.pipe or ()), self.snapshot_fd, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.pipe = None
        self.snapshot_fd = -1
        self.pidfd = -1

    def freeze(self) -> None:
        """Stop all of its processes, until :meth:`thaw` or its end."""
        if self.phase is Phase.RUNNING:
            try:
                self.leaf.freeze(True)
            except OSError as error:  # it runs on, and costs a little CPU time
                log.warning("session.freeze_failed", session=self.key, error=error)

    def thaw(self, limits: Limits) -> None:
        """Let its processes run again, under ``limits``. Raises OSError."""
        if limits != self.limits:
            self.leaf.limit(limits)
            self.limits = limits
        self.leaf.freeze(False)

    def terminate(self, grace_s: float) -> None:
        """Send SIGTERM now, and SIGKILL to all of it ``grace_s`` later: the earliest counts."""
        deadline = time.monotonic() + grace_s
        if self.phase is Phase.RUNNING:
            self.phase = Phase.TERMINATING
            self.deadline = deadline
            self.leaf.freeze(False)  # a frozen process takes no signal
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)
        elif self.phase is Phase.TERMINATING:
            self.deadline = min(self.deadline, deadline)

    def _send(self, number: int) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)
        else:
            os.kill(self.pid, number)  # not reaped yet, so the pid is still its own

    def kill(self) -> None:
        """Send SIGKILL to every process of it."""
        if self.phase not in (Phase.REMOVING, Phase.GONE):
            self.phase = Phase.DYING
            self.deadline = time.monotonic() + POLL_S
            self.leaf.kill()

    def on_exit(self, status: int | None) -> Exit:
        """Take note of its wait status, None where another parent has it, and kill the rest."""
        if self.stderr >= 0:
            self.read_stderr()
        self.usage = self.leaf.usage()
        code, name = (None, None) if status is None else split_status(status)
        self.exit = Exit(code, name, self.usage.oom_kills or 0, self.stderr_tail)
        self.kill()
        return self.exit

    def abandon(self) -> None:
        """Remove what there is of one that never came to run."""
        self.exit = Exit()
        self.kill()

    def tick(self, now: float) -> None:
        """Take the next step of its end, if that is due."""
        if self.phase in (Phase.RUNNING, Phase.GONE) or self.remover_pid or now < self.deadline:
            return
        if self.phase is Phase.REMOVING:
            self._remove_profile()
        elif self.phase is Phase.TERMINATING or self.exit is None or self.leaf.pids():
            self.kill()
        else:
            self._remove()

    def _remove(self) -> None:
        try:
            self.leaf.remove()
        except OSError:  # EBUSY: the kernel has not quite let go of the last process
            self.deadline = time.monotonic() + POLL_S
            return
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1
        self.phase = Phase.GONE if self.kept_profile else Phase.REMOVING
        if not self.kept_profile:
            self._remove_profile()

    def _remove_profile(self) -> None:
        # Python cannot recurse as deep as folders can be nested, nor may the loop wait for it.
        self.removal_attempts += 1
        try:
            self.remover_pid = spawn(Plan(remove_argv([self.profile]), {}, {}), lambda pid: None)
        except StartFailed as error:
            log.error("profile.removal_delayed", session=self.key, path=self.profile, error=error)
            self.deadline = time.monotonic() + RETRY_S

    def on_profile_removed(self) -> None:
        """Take note that ``rm`` has exited, and start it again if it was killed half way."""
        self.remover_pid = 0
        if self.profile.exists() and self.removal_attempts < _ATTEMPTS:
            self.deadline = time.monotonic() + RETRY_S
            return
        if self.profile.exists():
            log.error("profile.removal_failed", session=self.key, path=self.profile)
        self.phase = Phase.GONE


def remove_argv(paths: list[Path]) -> list[str]:
    """Return the command that removes folders with all that is in them, but no other mount."""
    return ["/bin/rm", "-rf", "--one-file-system", "--", *map(str, paths)]
