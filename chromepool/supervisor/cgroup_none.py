"""No control groups: a session is what its first process has started, and nothing caps it.

Every Chrome leads a session (setsid) of its own, and the supervisor is the subreaper of all, so
the processes of one are found by their session id or, where it has one, by its uid.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from chromepool.model import Limits, Usage
from chromepool.supervisor import cgroup


class UncappedLeaf:
    """The processes that descend from the added one."""

    def __init__(self) -> None:
        self._leader = 0

    def add(self, pid: int) -> None:
        self._leader = pid

    def _processes(self) -> list[psutil.Process]:
        """Descendants of this daemon in the leader's session or below the leader.

        A process leaves the session only by setsid, and then still hangs below the leader or,
        orphaned, below this daemon.
        """
        try:
            below = set(psutil.Process(self._leader).children(recursive=True))
        except psutil.NoSuchProcess:
            below = set()
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                mine = process in below or os.getsid(process.pid) == self._leader
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        return found

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes()] if self._leader else []

    def kill(self) -> None:
        for process in self._processes() if self._leader else []:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue

    def usage(self) -> Usage:
        processes = self._processes() if self._leader else []
        memory = cpu = 0.0
        for process in processes:
            try:
                memory += process.memory_info().rss
                cpu += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return Usage(memory_bytes=int(memory), cpu_s=cpu, processes=len(processes))

    def remove(self) -> None:
        """There is nothing to remove."""


class UncappedTree:
    """The tree of a machine on which no control group can be written."""

    version = "none"
    enforced: tuple[str, ...] = ()

    def create(self, name: str, limits: Limits) -> UncappedLeaf:
        return UncappedLeaf()

    def leftovers(self) -> list[cgroup.Leaf]:
        return []

    def remove(self) -> None:
        """There is nothing to remove."""

    def parents(self) -> list[Path]:
        return []
