"""Pressure on memory and CPU as the kernel measures it: PSI, or the load average."""

import os
import re
from pathlib import Path

_PRESSURE = Path("/proc/pressure")
_SOME = re.compile(r"^some avg10=(\d+\.\d+) avg60=(\d+\.\d+)", re.MULTILINE)


def some(file: Path) -> tuple[float, float] | None:
    """Share of the last 10 and of the last 60 seconds in which something waited, 1 is always; None
    where the kernel keeps no account of it."""
    try:
        found = _SOME.search(file.read_text())
    except (OSError, ValueError):  # OSError: none there, or switched off (EOPNOTSUPP)
        return None
    return (float(found[1]) / 100, float(found[2]) / 100) if found else None


def memory(group: str, machine: Path = _PRESSURE) -> float:
    """The worse of the pool's group (v2 only) and the machine, over 10 seconds, since memory goes
    fast; 0 where nothing can tell."""
    files = [machine / "memory"] + ([Path(group) / "memory.pressure"] if group else [])
    return max((told[0] for told in map(some, files) if told is not None), default=0.0)


def cpu(machine: Path = _PRESSURE) -> float:
    """The machine's, over a minute, since every start of a Chrome is a burst; without PSI, the
    share of those that want a CPU and have none, by the load average."""
    told = some(machine / "cpu")
    if told is not None:
        return told[1]
    per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
    return max(0.0, 1 - 1 / per_core) if per_core > 0 else 0.0
