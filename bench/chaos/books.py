"""What there is of a daemon: counted before, and again after each round."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from bench.chaos.pool import ChaoticDaemon
from tests.daemon import wait_for


class Books:
    """The daemon's, beside one Chrome that waits."""

    def __init__(self, daemon: ChaoticDaemon) -> None:
        self._daemon = daemon
        self.before: dict[str, int] = {}

    def open(self) -> None:
        """What is more later is left over against now."""
        self._rest()
        self.before = self.count()

        def is_the_same() -> bool:
            before, self.before = self.before, self.count()
            return before == self.before

        wait_for(is_the_same, "nothing changes any more", pause_s=0.5)

    def left_over(self) -> dict[str, list[int]]:
        """What does not come down to what it was: before and now."""
        with contextlib.suppress(AssertionError):
            self._rest()
            wait_for(lambda: not self._excess(), "all is as it was", pause_s=0.1)
        return self._excess()

    def _rest(self) -> None:
        wait_for(self._is_at_rest, "one Chrome waits, and nothing else runs", pause_s=0.1)

    def _is_at_rest(self) -> bool:
        with contextlib.suppress(OSError):
            sessions = self._daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
            states = [s["state"] for s in sessions if s["state"] != "closed"]
            return states == ["frozen"] and len(self._daemon.chromes()) == 1
        return False

    def _excess(self) -> dict[str, list[int]]:
        now = self.count()
        return {name: [n, now[name]] for name, n in self.before.items() if now[name] > n}

    def count(self) -> dict[str, int]:
        """What is to be the same after each round."""
        daemon = self._daemon
        supervisor, gateway = psutil.Process(daemon.pid), daemon.gateway
        below = supervisor.children(recursive=True)
        sockets = gateway.net_connections()
        return {
            "processes": len(set(below) - self._of_chromes()),
            "processes_of_its_uids": len(self._of_uids() - self._of_chromes()),
            "zombies": sum(_is_zombie(process) for process in below),
            "supervisor_fds": supervisor.num_fds(),
            "gateway_fds": gateway.num_fds(),
            "sockets": sum(s.status != psutil.CONN_LISTEN for s in sockets),
            "cgroups": len(daemon.leaves()),
            "chromes": len(daemon.chromes()),
            "profiles": len(daemon.profiles()),
            # Others of this machine mount things, too.
            "mounts": Path(f"/proc/{daemon.pid}/mountinfo").read_text().count(str(daemon.folder)),
            "files": sum(path.is_file() for path in daemon.state_dir.iterdir()),
        }

    def _of_chromes(self) -> set[psutil.Process]:
        """What belongs to a Chrome that lives."""
        found = set()
        for chrome in self._daemon.chromes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {chrome, *chrome.children(recursive=True)}
        return found

    def _of_uids(self) -> set[psutil.Process]:
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.uids().real in self._daemon.uids:
                    found.add(process)
        return found


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
