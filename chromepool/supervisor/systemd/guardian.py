"""The guardian: a process that ends what a killed supervisor leaves frozen.

When the supervisor is killed, the kernel kills every Chrome (``PR_SET_PDEATHSIG``), and Chrome's
other processes exit when they notice. Frozen ones notice nothing, and in cgroup v1's freezer take
no signal, not even SIGKILL (kernel documentation, cgroup-v1/freezer-subsystem). So a small process
waits for the supervisor's end, and then kills what is left in its groups.

Sessions that may outlive the supervisor it ends only when no daemon has taken the state folder's
lock for some time, so that none runs for ever after a supervisor that systemd has given up.
"""

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
from chromepool.supervisor.locks import try_lock

NAME = "chromepool-guard"
_TIMEOUT_S = 10.0
_POLL_S = 0.2
_SHORTAGE_S = 1.0
"""Pause where the kernel had no process or descriptor for one: it may have some at any moment."""

log = Log("chromepool.supervisor")


class Guardian:
    """A forked process that reads from a pipe whose other end only the supervisor has."""

    def __init__(self, tree: Tree, lock: Path, patience_s: float) -> None:
        """Start none yet. It waits ``patience_s`` for another supervisor to take ``lock``."""
        self._tree = tree
        self._lock = lock
        self._patience_s = patience_s
        self._pipe = -1
        self._start_at = 0.0
        self.pid = 0

    @property
    def needed(self) -> bool:
        """True if processes could outlive the supervisor here: frozen ones, or all."""
        return self._tree.freezer or self._patience_s > 0

    def start(self) -> None:
        """Fork it, which is safe because the supervisor has no threads. Raises OSError."""
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
        self.pid = pid
        self._pipe = write

    def start_if_due(self, now: float) -> None:
        """Start one where it is needed, there is none, and the pause is over."""
        if not self.needed or self.pid or now < self._start_at:
            return
        try:
            self.start()
        except OSError as error:
            self._start_at = now + _SHORTAGE_S
            log.error("guardian.start_failed", error=error, pause_s=_SHORTAGE_S)

    def reaped(self, pid: int) -> bool:
        """Take note of a dead process; return whether it was the guardian."""
        if pid != self.pid:
            return False
        log.error("guardian.died")
        os.close(self._pipe)
        self.pid = 0
        self._pipe = -1
        return True

    def stop(self) -> None:
        """Close the pipe, and wait for its exit. May be called twice, or when it is dead."""
        if self._pipe >= 0:
            os.close(self._pipe)
            with contextlib.suppress(ChildProcessError):  # it was reaped already
                os.waitpid(self.pid, 0)
        self.pid = 0
        self._pipe = -1

    def _run(self, read: int) -> None:
        """Do the guardian's work, with every signal but SIGKILL blocked. Never returns."""
        try:
            os.setsid()
            prctl.set_name(NAME)
            os.dup2(read, 0)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # no listener, no lock, no pipe to a Chrome
            while os.read(0, 1):
                pass
            if not self._is_succeeded():
                kill_and_remove(self._tree.leftovers(), time.monotonic() + _TIMEOUT_S)
        finally:
            os._exit(0)

    def _is_succeeded(self) -> bool:
        """Return whether another supervisor takes the lock in time.

        If not, the lock stays ours, so that none starts while its sessions are killed.
        """
        if self._patience_s <= 0:
            return False
        deadline = time.monotonic() + self._patience_s
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while try_lock(fd):
            if time.monotonic() > deadline:
                return False
            fcntl.flock(fd, fcntl.LOCK_UN)
            time.sleep(_POLL_S)
        return True
