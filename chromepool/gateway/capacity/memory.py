"""Memory left for another Chrome, before the kernel has to refuse it."""

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60
"""Bytes from which on a cap counts as none: cgroup v1 writes "no limit" as nearly 2^63."""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _keys(path: Path) -> dict[str, int]:
    pairs = [line.split() for line in _text(path).splitlines()]
    known = [pair for pair in pairs if len(pair) > 1 and pair[1].isdigit()]
    return {pair[0].rstrip(":"): int(pair[1]) for pair in known}


def group_use(group: Path) -> int | None:
    """Bytes that a group (v2 or v1) uses, without page cache that can be dropped at once."""
    v2 = (group / "memory.current").exists()
    used = _number(group / ("memory.current" if v2 else "memory.usage_in_bytes"))
    if used is None:
        return None
    cache = _keys(group / "memory.stat").get("inactive_file" if v2 else "total_inactive_file", 0)
    return max(0, used - cache)


def group_cap(group: Path) -> int | None:
    """Bytes that a group may use; None where it has no cap."""
    v2 = (group / "memory.current").exists()
    cap = _number(group / ("memory.max" if v2 else "memory.limit_in_bytes"))
    return None if cap is None or cap >= _UNLIMITED else cap


def group_left(group: Path) -> int | None:
    """Bytes until a group's cap; None where it has none."""
    cap, used = group_cap(group), group_use(group)
    return None if cap is None or used is None else cap - used


def share(group: str) -> float | None:
    """Share of its cap that a group uses, 1 is all; None where nothing can tell."""
    cap, used = group_cap(Path(group)), group_use(Path(group))
    return used / cap if group and cap and used is not None else None


def leaves(group: str) -> tuple[int, ...]:
    """Bytes used by each group inside a group: one for each Chrome of the pool."""
    try:
        folders = [entry for entry in Path(group).iterdir() if entry.is_dir()] if group else []
    except OSError:
        return ()
    found = [group_use(folder) for folder in folders]  # one that has just gone tells nothing
    return tuple(used for used in found if used is not None)


def machine_left(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """``MemAvailable``, in bytes (proc(5))."""
    available = _keys(meminfo).get("MemAvailable")
    return None if available is None else available * 1024


def _upwards(group: str) -> Iterator[Path]:
    """A group and each one above it, as far as they can be seen from here."""
    folder = Path(group)
    while group and (folder / "cgroup.procs").exists():
        yield folder
        folder = folder.parent


def left(group: str) -> int | None:
    """The least that a group, one above it, or the machine has left; None: nothing can tell."""
    found = [machine_left(), *map(group_left, _upwards(group))]
    return min((value for value in found if value is not None), default=None)


def cap(group: str) -> int | None:
    """The lowest cap of a group and of each one above it; None where there is none."""
    found = map(group_cap, _upwards(group))
    return min((value for value in found if value is not None), default=None)
