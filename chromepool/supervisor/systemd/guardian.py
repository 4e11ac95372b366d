"""The guardian: ends what a killed supervisor leaves frozen.

When the supervisor is killed, the kernel kills every Chrome (``PR_SET_PDEATHSIG``), and a Chrome's
other processes end when they see it gone. Frozen ones see nothing; and what cgroup v1's freezer
holds takes no signal, not even SIGKILL, until somebody thaws it (kernel documentation,
cgroup-v1/freezer-subsystem). So a small process waits for the supervisor's end, and then kills what
is left in its groups.

Where sessions are to outlive the supervisor it is patient: only when nobody has taken the state
folder's lock for some time does it end them. So no Chrome runs on for ever after a supervisor that
systemd has given up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

import prctl

from chromepool.logs import Log
from chromepool.supervisor.linux.cgroup.removal import kill_and_remove
from chromepool.supervisor.linux.cgroup.tree import Tree
from chromepool.supervisor.sockets import try_lock

NAME = "chromepool-guard"
_TIMEOUT_S = 10.0
_LOOK_S = 0.2
_SHORTAGE_S = 1.0
"""Pause where none could be started: what was missing may be there again at any moment."""

log = Log("chromepool.supervisor")


class Guardian:
    """A forked process that reads from a pipe; the pipe's end is the supervisor's."""

    def __init__(self, tree: Tree, *, lock: Path | None = None, patience_s: float = 0.0) -> None:
        """Waits ``patience_s`` after the supervisor's end for another one to take ``lock``."""
        self._tree, self._lock, self._patience_s = tree, lock, patience_s
        self._pipe = -1
        self._start_at = 0.0
        self.pid = 0

    @property
    def needed(self) -> bool:
        """Whether processes could outlive the supervisor here: frozen ones, or all."""
        return self._tree.freezer or self._patience_s > 0

    def start(self) -> None:
        """Forks it. Safe, since the supervisor has no threads. Raises OSError."""
        self.stop()
        read, write = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._run(read)
        except OSError:
            os.close(write)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(read)
        self.pid, self._pipe = pid, write

    def start_if_due(self, now: float) -> None:
        """Starts one where it is needed and there is none (any more)."""
        if not self.needed or self.pid or now < self._start_at:
            return
        try:
            self.start()
        except OSError as error:
            self._start_at = now + _SHORTAGE_S
            log.error("guardian.not_started", error=error, pause_s=_SHORTAGE_S)

    def reaped(self, pid: int) -> bool:
        """Whether a dead process was it; then another is due."""
        if pid != self.pid:
            return False
        log.error("guardian.died")
        os.close(self._pipe)
        self.pid, self._pipe = 0, -1
        return True

    def stop(self) -> None:
        """Lets it go: it sees the pipe's end, finds nothing to kill, and exits. May be called
        twice, and when it is dead."""
        if self._pipe >= 0:
            os.close(self._pipe)
            with contextlib.suppress(ChildProcessError):  # the reaper had it
                os.waitpid(self.pid, 0)
        self.pid, self._pipe = 0, -1

    def _run(self, read: int) -> None:
        """The guardian's life, with every signal but SIGKILL blocked. Never returns."""
        try:
            os.setsid()
            prctl.set_name(NAME)
            os.dup2(read, 0)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # no listener, no lock, no pipe of Chrome's
            while os.read(0, 1):
                pass
            if not self._succeeded():
                deadline = time.monotonic() + _TIMEOUT_S
                kill_and_remove(self._tree.leftovers(), deadline)
        finally:
            os._exit(0)

    def _succeeded(self) -> bool:
        """Whether another supervisor has taken the lock in time. If not, it is ours until we exit,
        so that none begins while its sessions are being killed."""
        if self._lock is None or self._patience_s <= 0:
            return False
        deadline = time.monotonic() + self._patience_s
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while try_lock(fd):
            if time.monotonic() > deadline:
                return False
            fcntl.flock(fd, fcntl.LOCK_UN)
            time.sleep(_LOOK_S)
        return True
