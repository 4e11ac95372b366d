"""Traces of a daemon that may leak: counted before a test, and again after it."""

from __future__ import annotations

import abc
import contextlib
import os
from pathlib import Path

import psutil

from testing.daemon import Daemon, wait_for


class LeakCheck(abc.ABC):
    """A daemon's, beside one Chrome that waits."""

    def __init__(self, daemon: Daemon, pause_s: float = 0.5) -> None:
        """:meth:`open` wants two counts that far apart to be the same."""
        self._daemon, self._pause_s = daemon, pause_s
        self.before: dict[str, int] = {}

    @abc.abstractmethod
    def count(self) -> dict[str, int]:
        """Return the counts that have to be the same in the end."""

    def open(self) -> None:
        """Return what a later count has more than this one."""
        self._rest()
        self.before = self.count()

        def is_the_same() -> bool:
            before, self.before = self.before, self.count()
            return before == self.before

        wait_for(is_the_same, "nothing changes any more", pause_s=self._pause_s)

    def left_over(self) -> dict[str, list[int]]:
        """Return the counts that do not come down to what they were: before and now."""
        with contextlib.suppress(AssertionError):
            self._rest()
            wait_for(lambda: not self._excess(), "all is as it was", pause_s=0.1)
        return self._excess()

    def _excess(self) -> dict[str, list[int]]:
        now = self.count()
        return {name: [n, now[name]] for name, n in self.before.items() if now[name] > n}

    def _rest(self) -> None:
        wait_for(self._is_at_rest, "one Chrome waits, and nothing else runs", pause_s=0.1)

    def _is_at_rest(self) -> bool:
        with contextlib.suppress(OSError):
            sessions = self._daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
            states = [s["state"] for s in sessions if s["state"] != "closed"]
            # Without cgroups to freeze it, it waits as it is.
            return states in (["frozen"], ["ready"]) and len(self._daemon.chromes()) == 1
        return False

    # -- for counts --

    def _below(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        return psutil.Process(self._daemon.pid).children(recursive=True)

    def _of_chromes(self) -> set[psutil.Process]:
        """Return the folders of Chromes that live."""
        found = set()
        for chrome in self._daemon.chromes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {chrome, *chrome.children(recursive=True)}
        return found

    def _mounts(self) -> int:
        """Return the daemon's own mounts: others of this machine mount things, too."""
        mounts = Path(f"/proc/{self._daemon.pid}/mountinfo").read_text()
        return mounts.count(str(self._daemon.folder))

    def _files(self) -> int:
        """In its state folder, but not below it."""
        return sum(path.is_file() for path in self._daemon.state_dir.iterdir())


def is_zombie(process: psutil.Process) -> bool:
    """Report whether a process is dead and nobody has waited for it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def open_files() -> set[str]:
    """Open descriptors of this process by what they are."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return found


def children() -> set[psutil.Process]:
    """Every process below this one, zombies too.

    psutil looks through all processes of the machine, so the kernel is asked first if there is any.
    """
    try:
        own = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:  # a thread ended just now, or the kernel has no such files
        own = []
    if own and not any(own):
        return set()
    return set(psutil.Process().children(recursive=True))
