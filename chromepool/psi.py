"""Pressure stall information: how long processes have waited for a resource (kernel, psi.rst)."""

from __future__ import annotations

from pathlib import Path


def read_stall_s(path: Path) -> float | None:
    """Return the seconds in which some process waited, from a file such as memory.pressure.

    None where the kernel has no such file.
    """
    try:
        text = path.read_text()
    except OSError:  # EOPNOTSUPP too: PSI is compiled in and turned off
        return None
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "some" and fields and fields[-1].startswith("total="):
            return int(fields[-1].removeprefix("total=")) / 1e6
    return None
