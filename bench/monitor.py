"""Cost of watching: the daemon's CPU time with fifty sessions and nobody who drives them, alone
and while Prometheus asks every five seconds."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import psutil

from testing import ROOT
from testing.daemon import Daemon

_SESSIONS = 50
_EVERY_S = 5.0
_ROUNDS = 6
_FAKE = ROOT / "testing/misbehaving_chrome.py"


def _fake_chrome(folder: Path) -> Path:
    """A Chrome that does nothing by itself, so that all CPU time is the daemon's."""
    folder.mkdir()
    folder.chmod(0o755)
    program = folder / "fake-headless-chrome"
    shutil.copy(_FAKE, program)
    program.chmod(0o755)
    (folder / "faults").write_text("")
    return program


class _Cpu:
    """CPU time of supervisor and gateway."""

    def __init__(self, daemon: Daemon) -> None:
        self._processes = [psutil.Process(daemon.pid), daemon.gateway]

    def spent_s(self) -> list[float]:
        return [sum(process.cpu_times()[:2]) for process in self._processes]


def _watch(daemon: Daemon, *, scrape: bool) -> tuple[list[float], list[float]]:
    """Percent of a core of supervisor and gateway; seconds that each scrape took."""
    cpu, took = _Cpu(daemon), []
    began, before = time.perf_counter(), cpu.spent_s()
    for number in range(1, _ROUNDS + 1):
        if scrape:
            asked = time.perf_counter()
            assert daemon.ask("GET", "/metrics").status == 200
            took.append(time.perf_counter() - asked)
        time.sleep(max(0.0, began + number * _EVERY_S - time.perf_counter()))
    wall = time.perf_counter() - began
    spent = [after - at for after, at in zip(cpu.spent_s(), before, strict=True)]
    return [100 * seconds / wall for seconds in spent], took


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    program = _fake_chrome(folder / "fake")
    settings = {"chrome": program, "max_sessions": _SESSIONS, "session_need_bytes": 0}
    with Daemon(folder, health_interval_s=30, **settings) as daemon:
        for _ in range(_SESSIONS):
            daemon.new()
        alone, _ = _watch(daemon, scrape=False)
        asked, took = _watch(daemon, scrape=True)
        page = daemon.ask("GET", "/metrics").body
    return {
        "fifty_sessions_watched_percent_of_a_core": round(sum(asked), 2),
        "fifty_sessions_supervisor_and_gateway_percent": [round(part, 2) for part in asked],
        "fifty_sessions_not_scraped_percent": round(sum(alone), 2),
        "scrape_ms": round(statistics.median(took) * 1000, 1),
        "scrape_bytes": len(page),
    }
