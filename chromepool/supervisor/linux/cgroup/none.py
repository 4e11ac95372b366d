"""No control groups: a session is what its first process has started, and nothing caps it.

Every Chrome leads a process session (setsid) of its own, and the supervisor is the subreaper of
all. A process leaves the leader's session by setsid, and the leader's tree when its parent dies;
one that did both is known by its environment. Where the session has a uid of its own, that decides.
"""

import errno
import os
import signal
from collections.abc import Collection
from pathlib import Path

import psutil

from chromepool.model import Limits, Usage
from chromepool.supervisor.chrome.command_line import NAME_VARIABLE
from chromepool.supervisor.linux.cgroup import tree as cgroup


class UncappedLeaf:
    """The processes that descend from the added one: counted and killed, but not limited."""

    def __init__(self, name: str, uid: int | None = None) -> None:
        self._name = name
        self._uid = uid
        self._leader = 0

    def add(self, pid: int) -> None:
        self._leader = pid

    def _processes(self) -> list[psutil.Process]:
        """Return the descendants of this daemon that came from the leader."""
        try:
            below = set(psutil.Process(self._leader).children(recursive=True))
        except psutil.NoSuchProcess:
            below = set()
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if self._is_mine(process, below) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
                continue
        return found

    def _is_mine(self, process: psutil.Process, below: set[psutil.Process]) -> bool:
        if self._uid is not None:  # the one thing that a process cannot change
            return self._uid in process.uids()
        if process in below or os.getsid(process.pid) == self._leader:
            return True
        return process.environ().get(NAME_VARIABLE) == self._name

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes()] if self._leader else []

    def kill(self) -> None:
        for process in self._processes() if self._leader else []:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue

    def limit(self, limits: Limits) -> None:
        """Do nothing: no limit can be enforced."""

    def freeze(self, frozen: bool) -> None:
        """Do nothing: there is no freezer."""

    def usage(self) -> Usage:
        processes = self._processes() if self._leader else []
        memory = cpu = 0.0
        for process in processes:
            try:
                memory += process.memory_info().rss
                cpu += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        files = cgroup.count_files([process.pid for process in processes])
        return Usage(int(memory), cpu_s=cpu, processes=len(processes), files=files)

    def remove(self) -> None:
        """Do nothing: there is nothing to remove."""


class UncappedTree:
    """The parent of leaves on a machine where no control group can be written."""

    version = "none"
    enforced: tuple[str, ...] = ()
    freezer = False
    memory_group: Path | None = None

    def create(self, name: str, limits: Limits, uid: int | None = None) -> UncappedLeaf:
        return UncappedLeaf(name, uid)

    def adopt(self, name: str, limits: Limits) -> UncappedLeaf:
        raise FileNotFoundError(
            errno.ENOENT, "without control groups no session can be restored", name
        )

    def leftovers(self, but: Collection[str] = ()) -> list[cgroup.Leaf]:
        return []

    def remove(self) -> None:
        """Do nothing: there is nothing to remove."""

    def parents(self) -> list[Path]:
        return []
