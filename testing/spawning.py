"""Children for tests of how they are spawned."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chromepool.supervisor.linux.spawn import Plan, spawn
from testing.daemon import wait_for


def admit(pid: int) -> None:
    """Admits everybody."""


def sleeper(**given: Any) -> Plan:
    """A child that does nothing for a quarter of an hour."""
    usual: dict[str, Any] = {"argv": ["/bin/sleep", "1000"], "env": {}, "fds": {}}
    return Plan(**(usual | given))


@contextlib.contextmanager
def running(plan: Plan) -> Iterator[int]:
    """A sleeper that sleeps. Before that its loader opens libraries, and closes them."""
    pid = spawn(plan, admit)
    try:
        wait_for(lambda: status_of(pid)["State"].startswith("S"), "it sleeps")
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def status_of(pid: int) -> dict[str, str]:
    """``/proc/PID/status`` by its names."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
