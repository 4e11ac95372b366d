"""One Chrome and everything that belongs to it, from spawn until nothing of it is left."""

from __future__ import annotations

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
RETRY_S = 0.2
_ATTEMPTS = 5
POLL_S = 0.005
"""How often a dying group is looked at: nothing tells when the last of v1's processes is gone."""


class Phase(enum.Enum):
    """How far the end of a child has come."""

    RUNNING = "running"
    TERMINATING = "terminating"
    """SIGTERM is sent; SIGKILL follows at ``deadline``."""
    DYING = "dying"
    """SIGKILL is sent to all; waiting for the group to be empty."""
    CLEARING = "clearing"
    """The group is removed; ``rm`` removes the profile."""
    GONE = "gone"


@dataclasses.dataclass(slots=True)
class ChromeProcess:
    """A Chrome's process, control group, profile and last words."""

    key: int
    name: str
    """Name of its group and profile folder. Not the session's id, which is a secret: other
    users of the machine can read names in /proc."""
    limits: Limits
    leaf: Leaf
    profile: Path
    uid: int | None
    stderr: int
    """Read end of the pipe Chrome's stdout and stderr go to; -1 once closed."""
    kept: str = ""
    """Name of the kept profile that this folder is; it stays, and is locked until the end."""
    pipe: tuple[int, int] | None = None
    """A duplicate of the gateway's ends: commands in, events out. While it is open Chrome lives,
    whatever becomes of the gateway."""
    record: int = -1
    """File with what the next gateway has to know of it; -1: it is nobody's yet."""
    pid: int = 0
    process: int = -1
    """A pidfd, where the session may outlive the supervisor; -1: it does not."""
    phase: Phase = Phase.RUNNING
    deadline: float = 0.0
    exit: Exit | None = None
    usage: Usage = dataclasses.field(default_factory=Usage)
    remover: int = 0
    """pid of the ``rm`` that removes the profile."""
    attempts: int = 0
    """How often its removal was begun."""
    _words: bytes = b""

    @property
    def words(self) -> str:
        """The last of what Chrome wrote to stderr."""
        return self._words.decode(errors="replace")

    def listen(self) -> bool:
        """Reads what stderr has for us, so that Chrome never blocks on it; False at its end."""
        try:
            data = os.read(self.stderr, 65536)
        except BlockingIOError:
            return True
        self._words = (self._words + data)[-_STDERR_BYTES:]
        return bool(data)

    @property
    def known(self) -> bool:
        """Whether it is somebody's, so that it outlives its gateway."""
        return self.record >= 0

    def remember(self, record: int) -> None:
        """Keeps a file, in the place of the one before."""
        if self.record >= 0:
            os.close(self.record)
        self.record = record

    def share(self) -> tuple[int, ...]:
        """Duplicates for another gateway: commands in, events out, the record. Raises OSError."""
        shared: list[int] = []
        try:
            for fd in (*(self.pipe or ()), self.record):
                shared.append(os.dup(fd))
        except OSError:
            for fd in shared:
                os.close(fd)
            raise
        return tuple(shared)

    def let_go(self) -> None:
        """Closes what was kept for a gateway. May be called twice."""
        for fd in (*(self.pipe or ()), self.record, self.process):
            if fd >= 0:
                os.close(fd)
        self.pipe, self.record, self.process = None, -1, -1

    def freeze(self) -> None:
        """Stops it where it is, until :meth:`thaw` or its end."""
        if self.phase is Phase.RUNNING:
            try:
                self.leaf.freeze(True)
            except OSError as error:  # it goes on, and costs a little more
                log.warning("session.not_frozen", session=self.key, error=error)

    def thaw(self, limits: Limits) -> None:
        """Lets it go on, under ``limits``. Raises OSError."""
        if limits != self.limits:
            self.leaf.limit(limits)
            self.limits = limits
        self.leaf.freeze(False)

    def terminate(self, grace_s: float) -> None:
        """SIGTERM now, SIGKILL to all of it ``grace_s`` later. May be called again, to hasten."""
        deadline = time.monotonic() + grace_s
        if self.phase is Phase.RUNNING:
            self.phase, self.deadline = Phase.TERMINATING, deadline
            self.leaf.freeze(False)  # what is frozen takes no signal
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)
        elif self.phase is Phase.TERMINATING:
            self.deadline = min(self.deadline, deadline)

    def _send(self, number: int) -> None:
        if self.process >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process, number)
        else:
            os.kill(self.pid, number)  # not reaped yet, so the pid is still its own

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        if self.phase not in (Phase.CLEARING, Phase.GONE):
            self.phase = Phase.DYING
            self.deadline = time.monotonic() + POLL_S
            self.leaf.kill()

    def died(self, status: int | None) -> Exit:
        """Its first process was reaped (with this wait status, None where another parent has that):
        what is left of it is killed."""
        if self.stderr >= 0:
            self.listen()
        self.usage = self.leaf.usage()
        code, name = (None, None) if status is None else split_status(status)
        self.exit = Exit(code, name, self.usage.oom_kills or 0, self.words)
        self.kill()
        return self.exit

    def abandon(self) -> None:
        """It never came to run: whatever there is of it goes."""
        self.exit = Exit()
        self.kill()

    def tick(self, now: float) -> None:
        """Moves on what is due."""
        if self.phase in (Phase.RUNNING, Phase.GONE) or self.remover or now < self.deadline:
            return
        if self.phase is Phase.CLEARING:
            self._clear()
            return
        if self.phase is Phase.TERMINATING or self.exit is None or self.leaf.pids():
            self.kill()
            return
        self._remove()

    def _remove(self) -> None:
        try:
            self.leaf.remove()
        except OSError:  # EBUSY: the kernel is still letting go of the last process
            self.deadline = time.monotonic() + POLL_S
            return
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1
        self.phase = Phase.GONE if self.kept else Phase.CLEARING
        if not self.kept:
            self._clear()

    def _clear(self) -> None:
        """Starts removing the profile. Not here: a session can nest folders deeper than Python can
        recurse, and make more of them than the loop may wait for."""
        self.attempts += 1
        try:
            self.remover = spawn(Plan(remove_argv([self.profile]), {}, {}), lambda pid: None)
        except StartFailed as error:
            log.error("profile.not_removed", session=self.key, path=self.profile, error=error)
            self.deadline = time.monotonic() + RETRY_S

    def cleared(self) -> None:
        """``rm`` is done."""
        self.remover = 0
        if self.profile.exists() and self.attempts < _ATTEMPTS:  # it was killed, or had no memory
            self.deadline = time.monotonic() + RETRY_S
            return
        if self.profile.exists():
            log.error("profile.left", session=self.key, path=self.profile)
        self.phase = Phase.GONE


def remove_argv(paths: list[Path]) -> list[str]:
    """The command that removes folders whatever is in them, but not what is mounted there."""
    return ["/bin/rm", "-rf", "--one-file-system", "--", *map(str, paths)]
