"""Doing what the plan says."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench.chaos import clients
from bench.chaos.pool import ChaoticDaemon, few_descriptors
from bench.chaos.schedule import Fault, Kind
from testing.cdp import run
from testing.daemon import wait_for

Json = dict[str, Any]

WORKS, SHORT = "works", "short of processes"
TRUE_ENDS: dict[Kind, set[str]] = {
    Kind.KILL_BROWSER: {"crashed"},
    Kind.STOP_BROWSER: {"unhealthy"},
    # Chrome starts another, and gives up after some.
    Kind.KILL_GPU: {WORKS, "crashed"},
    Kind.STOP_GPU: {WORKS, "crashed", "unhealthy"},
    Kind.STOP_NETWORK: {WORKS, "unhealthy"},
    Kind.MEMORY_HOG: {WORKS, "out_of_memory"},
    # A Chrome that gets no thread any more aborts, or waits for ever, or only its pages do.
    Kind.FORK_BOMB: {WORKS, SHORT, "crashed", "unhealthy"},
}
"""Outcomes allowed to a session that had this fault; any other has to work."""

_PROCESSES = {
    Kind.KILL_GPU: "--type=gpu-process",
    Kind.STOP_GPU: "--type=gpu-process",
    Kind.KILL_NETWORK: "--utility-sub-type=network.mojom.NetworkService",
    Kind.STOP_NETWORK: "--utility-sub-type=network.mojom.NetworkService",
    Kind.KILL_RENDERER: "--type=renderer",
    Kind.STOP_RENDERER: "--type=renderer",
}
_HOLD_S = 1.0
"""Time for which something is withheld."""
_BOMB = """
import os, sys, time
for group in sys.argv[2:]:
    with open(group + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
os.setgroups([]); os.setresgid(*[int(sys.argv[1])] * 3); os.setresuid(*[int(sys.argv[1])] * 3)
made = 0
while True:
    try:
        if os.fork() == 0:
            while True:
                time.sleep(60)
        made += 1
    except OSError:
        print(made, flush=True)
        time.sleep(60)
"""
_JUMPS_S = (3600, -3600, 86400, -86400, 10 * 365 * 86400, -400 * 86400)


class Faults:
    """Faults of one round. They overlap, and each is over when its method returns, but for what is
    to last until :meth:`undo`."""

    def __init__(self, daemon: ChaoticDaemon, sessions: list[Json]) -> None:
        self._daemon, self._sessions = daemon, sessions
        self._lasting = contextlib.ExitStack()
        self._bombs: list[subprocess.Popen[str]] = []
        self._doing: dict[Kind, Callable[[Fault], str]] = {
            Kind.KILL_GATEWAY: self._end_gateway,
            Kind.STOP_GATEWAY: self._end_gateway,
            Kind.MEMORY_HOG: lambda fault: run(clients.eat_memory(self._session(fault))),
            Kind.FORK_BOMB: self._bomb,
            Kind.VANISH: lambda fault: run(clients.vanish(self._session(fault))),
            Kind.HALF_OPEN: self._half_open,
            Kind.FLOOD: self._flood,
            Kind.CONNECTIONS: self._connections,
            Kind.SLOW_READER: self._read_slowly,
            Kind.FULL_DISK: self._fill_disk,
            Kind.NO_FDS: self._take_fds,
            Kind.CLOCK: self._jump,
        }

    def _session(self, fault: Fault) -> Json:
        return self._sessions[fault.victim]

    def do(self, fault: Fault) -> str:
        """Does it; what was done, in words."""
        return self._doing.get(fault.kind, self._signal)(fault)

    def undo(self) -> None:
        """Clients that lasted go. What was done to a session stays done. May be called twice."""
        self._lasting.close()

    def bury(self) -> None:
        """Assert that no bomb lives once its session has ended: a bomb in a control group ends
        with that alone. May be called twice."""
        while self._bombs:
            bomb = self._bombs.pop()
            wait_for(lambda bomb=bomb: bomb.poll() is not None, "a bomb ends with its session")  # type: ignore[misc]
            assert bomb.stdout is not None
            bomb.stdout.close()

    # -- processes --

    def _signal(self, fault: Fault) -> str:
        number = signal.SIGKILL if "kill" in fault.kind else signal.SIGSTOP
        browser = self._session(fault)["pid"]
        pid = browser
        if fault.kind in _PROCESSES:
            found = wait_for(lambda: _of_type(browser, _PROCESSES[fault.kind]), fault.kind, 10)
            pid = found[fault.size % len(found)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return f"{number.name} to {pid}"

    def _end_gateway(self, fault: Fault) -> str:
        gateway = self._daemon.gateway
        number = signal.SIGKILL if fault.kind is Kind.KILL_GATEWAY else signal.SIGSTOP
        gateway.send_signal(number)
        wait_for(lambda: not gateway.is_running(), "the old gateway is gone")
        wait_for(lambda: self._ask("GET", "/v1/status") == 200, "another serves")
        return f"{number.name} to {gateway.pid}"

    def _bomb(self, fault: Fault) -> str:
        session = self._session(fault)
        groups = _groups(session["pid"])
        uid = psutil.Process(session["pid"]).uids().real
        argv = ["/usr/bin/python3", "-c", _BOMB, str(uid), *groups]
        bomb = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self._bombs.append(bomb)
        assert bomb.stdout is not None
        return f"{bomb.stdout.readline().strip()} processes"

    # -- clients --

    def _half_open(self, fault: Fault) -> str:
        self._lasting.enter_context(clients.half_open(self._daemon, self._session(fault)))
        return "a frame and a request begun"

    def _read_slowly(self, fault: Fault) -> str:
        many = 8 + fault.size % 16
        slow = clients.slow_reader(self._daemon, self._session(fault), many)
        self._lasting.enter_context(slow)
        return f"{many} MB asked for, none read"

    def _flood(self, fault: Fault) -> str:
        return run(clients.flood(self._session(fault), 500 + fault.size % 1500))

    def _connections(self, fault: Fault) -> str:
        many = 230 + fault.size % 100  # the gateway may have 256 descriptors
        with clients.connections(self._daemon, many):
            status = self._ask("POST", "/v1/sessions")
            threading.Event().wait(_HOLD_S)
        return f"{many}; a creation meanwhile: {status}"

    # -- what the daemon needs --

    def _fill_disk(self, fault: Fault) -> str:
        with self._daemon.full_disk():
            status = self._ask("POST", "/v1/sessions")
            threading.Event().wait(_HOLD_S)
        return f"a creation meanwhile: {status}"

    def _take_fds(self, fault: Fault) -> str:
        spare = fault.size % 8
        with concurrent.futures.ThreadPoolExecutor(1) as caller:
            with few_descriptors(self._daemon.pid, spare):
                # Not waited for meanwhile: where another fault has stopped the gateway there is no
                # answer before there are descriptors for the next one.
                creation = caller.submit(self._ask, "POST", "/v1/sessions")
                self._daemon.process.send_signal(signal.SIGHUP)
                threading.Event().wait(_HOLD_S)
            status = creation.result()
        return f"{spare} left, SIGHUP; a creation meanwhile: {status}"

    def _jump(self, fault: Fault) -> str:
        seconds = _JUMPS_S[fault.size % len(_JUMPS_S)]
        with self._daemon.clock.jumped(seconds):
            threading.Event().wait(_HOLD_S)
        return f"{seconds:+} s and back"

    def _ask(self, method: str, path: str, body: object = None) -> int:
        """A status; 0 where there was no answer."""
        try:
            return self._daemon.ask(method, path, body).status
        except (OSError, http.client.HTTPException):
            return 0


def _of_type(browser: int, kind: str) -> list[int]:
    """Pids of a Chrome's processes of one type."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(browser).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(kind in word for word in process.cmdline()):
                    found.append(process.pid)
    return sorted(found)


def _groups(pid: int) -> list[str]:
    """Control groups of a session's, one for each hierarchy."""
    folders = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        name = names.partition("=")[2] or names.partition(",")[0]
        folder = f"/sys/fs/cgroup/{name}{path}"
        if "chromepool-" in path and Path(folder, "cgroup.procs").exists():
            folders.append(folder)
    return folders
