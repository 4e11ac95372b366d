"""Pressure stall information: how long processes have waited for a resource (kernel, psi.rst)."""

import re
from pathlib import Path


def read_stall_s(path: Path) -> float | None:
    """Return the seconds in which some process waited, from a file such as memory.pressure.

    None where the kernel has no such file.
    """
    try:
        text = path.read_text()
    except OSError:  # EOPNOTSUPP too: PSI is compiled in and turned off
        return None
    match = re.search(r"^some .*total=(\d+)$", text, re.MULTILINE)
    return int(match[1]) / 1e6 if match else None
