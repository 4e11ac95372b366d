"""Survival: how soon a pool is there again after its gateway was killed, the cost of reloads, and
how long a stop takes when not everybody cooperates."""

from __future__ import annotations

import collections
import contextlib
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from bench.chaos.clients import half_open
from chromepool.supervisor.chrome import command_line as chrome
from testing.daemon import Daemon, wait_for
from testing.drivers import calling, driving
from testing.stubborn import stubborn_chrome

_SESSIONS, _KILLS, _RELOADS = 10, 5, 100


def _alive(daemon: Daemon, sessions: list[dict[str, Any]]) -> int:
    return sum(daemon.show(session["id"])["state"] == "ready" for session in sessions)


def _serving(daemon: Daemon) -> int:
    return daemon.text.count("chromepool is ready")


def _answer_s(daemon: Daemon, began: float) -> float:
    """Until the control API answers."""
    while True:
        with contextlib.suppress(OSError):
            if daemon.ask("GET", "/v1/status").status == 200:
                return time.perf_counter() - began


def _killed(folder: Path) -> dict[str, float]:
    """Kill the gateway once, with ten driven sessions."""
    with Daemon(folder, max_sessions=_SESSIONS, pool_memory_bytes="4GiB") as daemon:
        sessions = [daemon.new() for _ in range(_SESSIONS)]
        with driving(sessions) as drivers:
            gateway = daemon.gateway
            began = time.perf_counter()
            gateway.kill()
            answer_s = _answer_s(daemon, began)
            wait_for(lambda: all(d.came_back[-1] > began for d in drivers), "all came back")
            back_s = max(driver.came_back[-1] for driver in drivers) - began
        return {
            "api_s": answer_s,
            "evaluate_s": back_s,
            "lost": _SESSIONS - _alive(daemon, sessions),
        }


def _reloads(folder: Path) -> dict[str, Any]:
    """Reloads one after another, with driven sessions and callers of the API."""
    with Daemon(folder, max_sessions=_SESSIONS, pool_memory_bytes="4GiB") as daemon:
        sessions = [daemon.new() for _ in range(_SESSIONS)]
        with driving(sessions, 0.05) as drivers, calling(daemon) as callers:
            took = []
            for _ in range(_RELOADS):
                before, began = _serving(daemon), time.perf_counter()
                daemon.process.send_signal(signal.SIGHUP)
                while _serving(daemon) == before:
                    time.sleep(0.005)
                took.append(time.perf_counter() - began)
        return {
            "reloads": _RELOADS,
            "reload_s": round(statistics.median(took), 3),
            "reload_worst_s": round(max(took), 3),
            "reload_sessions_lost": _SESSIONS - _alive(daemon, sessions),
            "reload_refused": sum(d.refused for d in drivers),
            "reload_calls_failed": sum(len(caller.failures) for caller in callers),
            "reload_calls": sum(caller.answers for caller in callers),
            "reload_evaluations": sum(driver.answers for driver in drivers),
            "reload_closes": str(dict(sum((d.closes for d in drivers), collections.Counter()))),
        }


def _stopped_s(folder: Path) -> float:
    """SIGTERM of the daemon with eight Chromes that listen and two that do not."""
    with stubborn_chrome(chrome.find(""), 2) as program:
        daemon = Daemon(
            folder, chrome=program, max_sessions=_SESSIONS, pool_memory_bytes="4GiB"
        ).start()
        sessions = [daemon.new() for _ in range(_SESSIONS)]
        with half_open(daemon, sessions[-1]):
            began = time.perf_counter()
            assert daemon.stop() == 0
            took = time.perf_counter() - began
        assert not daemon.cgroups()
        assert not daemon.profiles()
        return took


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    kills = [_killed(folder) for _ in range(_KILLS)]
    return {
        "gateway_killed_api_s": round(statistics.median(k["api_s"] for k in kills), 2),
        "gateway_killed_api_worst_s": round(max(k["api_s"] for k in kills), 2),
        "gateway_killed_evaluate_s": round(statistics.median(k["evaluate_s"] for k in kills), 2),
        "gateway_killed_evaluate_worst_s": round(max(k["evaluate_s"] for k in kills), 2),
        "gateway_killed_sessions_lost": sum(k["lost"] for k in kills),
        **_reloads(folder),
        "stop_with_stubborn_s": round(_stopped_s(folder), 2),
    }
