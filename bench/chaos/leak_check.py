"""Traces of the daemon that may leak, counted after each round."""

from __future__ import annotations

import contextlib

import psutil

from bench.chaos.pool import ChaoticDaemon
from testing import leak_check


class RoundLeakCheck(leak_check.LeakCheck):
    """Processes and sockets are counted one by one: chaos leaves any of them behind."""

    def __init__(self, daemon: ChaoticDaemon) -> None:
        super().__init__(daemon)
        self._uids = daemon.uids

    def count(self) -> dict[str, int]:
        """Return the counts that have to be the same after each round."""
        daemon, below = self._daemon, self._below()
        supervisor, gateway = psutil.Process(daemon.pid), daemon.gateway
        sockets = gateway.net_connections()
        return {
            "processes": len(set(below) - self._of_chromes()),
            "processes_of_its_uids": len(self._of_uids() - self._of_chromes()),
            "zombies": sum(leak_check.is_zombie(process) for process in below),
            "supervisor_fds": supervisor.num_fds(),
            "gateway_fds": gateway.num_fds(),
            "sockets": sum(s.status != psutil.CONN_LISTEN for s in sockets),
            "cgroups": len(daemon.leaves()),
            "chromes": len(daemon.chromes()),
            "profiles": len(daemon.profiles()),
            "mounts": self._mounts(),
            "files": self._files(),
        }

    def _of_uids(self) -> set[psutil.Process]:
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.uids().real in self._uids:
                    found.add(process)
        return found
