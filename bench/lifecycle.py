"""Time and memory that a session costs."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import psutil

from testing.daemon import Daemon, is_alive, wait_for

_MIB = 1024 * 1024


def _timed_cycle(daemon: Daemon) -> tuple[float, float]:
    began = time.perf_counter()
    session = daemon.new()
    created = time.perf_counter()
    assert daemon.delete(session["id"]) == 204
    deleted = time.perf_counter()
    assert not daemon.chromes()
    assert not daemon.leaves()
    assert not daemon.profiles()
    return created - began, deleted - created


def _memory(daemon: Daemon) -> dict[str, Any]:
    """Ten blank sessions: what their control groups are charged, what the daemon itself takes."""
    ids = [daemon.new()["id"] for _ in range(10)]
    charged = sum(daemon.show(session_id)["usage"]["memory_bytes"] for session_id in ids)
    own = [psutil.Process(daemon.pid), daemon.gateway]
    return {
        "ten_sessions_charged_mib": round(charged / _MIB, 1),
        "supervisor_and_gateway_rss_mib": [round(p.memory_info().rss / _MIB, 1) for p in own],
        "daemon_rss_mib": round(sum(p.memory_info().rss for p in own) / _MIB, 1),
    }


def _daemon_killed_s(folder: Path) -> float:
    """From SIGKILL of the daemon with three sessions until none of its processes is alive."""
    daemon = Daemon(folder).start()
    for _ in range(3):
        daemon.new()
    processes = psutil.Process(daemon.pid).children(recursive=True)
    began = time.perf_counter()
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not any(is_alive(p) for p in processes), "all are dead", pause_s=0.002)
    taken = time.perf_counter() - began
    with Daemon(folder):
        """It clears away what the killed one left."""
    return taken


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    killed_s = _daemon_killed_s(folder)
    with Daemon(folder) as daemon:
        _timed_cycle(daemon)  # the first start reads Chrome's pages from disk
        cycles = [_timed_cycle(daemon) for _ in range(20)]
        created, deleted = zip(*cycles, strict=True)
        return {
            "create_cold_s": round(statistics.median(created), 3),
            "delete_s": round(statistics.median(deleted), 3),
            "delete_worst_s": round(max(deleted), 3),
            "daemon_killed_all_dead_s": round(killed_s, 3),
            **_memory(daemon),
        }
