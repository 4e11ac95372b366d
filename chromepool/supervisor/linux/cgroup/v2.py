"""Control groups v2: one unified hierarchy."""

import os
from collections.abc import Collection
from pathlib import Path

from chromepool.model import Limits, Usage
from chromepool.psi import read_stall_s
from chromepool.supervisor.linux.cgroup import tree as cgroup

_ENFORCED = ("memory", "cpu", "pids")
_PERIOD_US = 100_000
_OWN_LEAF = "daemon"
"""Group of the supervisor and the gateway, next to the pool's."""


def mount_point(mountinfo: str) -> Path | None:
    """Return the mount point of cgroup2, from the text of /proc/self/mountinfo."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            return Path(left.split()[4])
    return None


def own_group(point: Path, own: str) -> Path:
    """Return this process's group, from the ``0::`` line of /proc/self/cgroup."""
    for line in own.splitlines():
        if line.startswith("0::"):
            return point / line[3:].lstrip("/")
    return point


def choose_base(point: Path, own: Path) -> Path:
    """Return the group below which the pool's is made.

    A group cannot have both processes and controlled children ("no internal processes",
    cgroups(7)). So where this process is alone in a group that it may write to (a delegated unit, a
    container) it moves itself to a leaf, if ``DelegateSubgroup=`` has not, and uses the group. In a
    group with others, such as a login session, root uses the top of the hierarchy instead.
    """
    if own.name == _OWN_LEAF and _is_unit_of(own):
        return own.parent
    alone = cgroup.read_pids(own) == [os.getpid()]
    if own != point and alone and os.access(own / "cgroup.procs", os.W_OK):
        return own
    if os.access(point / "cgroup.procs", os.W_OK):
        return point
    return own


def _is_unit_of(leaf: Path) -> bool:
    """Return whether the group above has no processes, and can be written to."""
    above = leaf.parent
    return not cgroup.read_pids(above) and all(
        os.access(above / name, os.W_OK) for name in ("cgroup.procs", "cgroup.subtree_control")
    )


class V2Leaf:
    """The group of a session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def limit(self, limits: Limits) -> None:
        """Set the caps; files of controllers that are not enabled here do not exist."""
        cgroup.write_if_there(self._folder / "memory.max", limits.memory_bytes)
        cgroup.write_if_there(self._folder / "memory.swap.max", 0)
        cgroup.write_if_there(self._folder / "pids.max", limits.pids)
        if limits.cpu_cores:
            quota = max(1000, int(limits.cpu_cores * _PERIOD_US))
            cgroup.write_if_there(self._folder / "cpu.max", f"{quota} {_PERIOD_US}")
        cgroup.write_if_there(self._folder / "cpu.weight", limits.cpu_weight)

    def add(self, pid: int) -> None:
        cgroup.write(self._folder / "cgroup.procs", pid)

    def pids(self) -> list[int]:
        return cgroup.read_pids(self._folder)

    def kill(self) -> None:
        kill = self._folder / "cgroup.kill"  # Linux 5.14
        if kill.exists():
            cgroup.write(kill, 1)
        else:
            cgroup.write_if_there(self._folder / "pids.max", 0)
            self.freeze(False)
            cgroup.kill_pids(self._folder)

    def freeze(self, frozen: bool) -> None:
        cgroup.write_if_there(self._folder / "cgroup.freeze", int(frozen))

    def usage(self) -> Usage:
        pids = self.pids()
        cpu_us = cgroup.read_key(self._folder / "cpu.stat", "usage_usec")
        return Usage(
            memory_bytes=cgroup.read_int(self._folder / "memory.current"),
            memory_peak_bytes=cgroup.read_int(self._folder / "memory.peak"),
            cpu_s=None if cpu_us is None else cpu_us / 1e6,
            processes=len(pids),
            files=cgroup.count_files(pids),
            oom_kills=cgroup.read_key(self._folder / "memory.events", "oom_kill"),
            pids_refused=cgroup.read_key(self._folder / "pids.events", "max"),
            cpu_stall_s=read_stall_s(self._folder / "cpu.pressure"),
            memory_stall_s=read_stall_s(self._folder / "memory.pressure"),
            io_stall_s=read_stall_s(self._folder / "io.pressure"),
        )

    def remove(self) -> None:
        cgroup.remove_tree(self._folder)


class V2Tree:
    """The pool's group."""

    version = "v2"

    def __init__(self, base: Path, name: str, pool_memory_bytes: int) -> None:
        """Make the parent, and enable the controllers. Raises OSError."""
        self._folder = base / name
        if cgroup.read_pids(base) == [os.getpid()]:
            (base / _OWN_LEAF).mkdir(exist_ok=True)
            cgroup.write(base / _OWN_LEAF / "cgroup.procs", os.getpid())
        available = cgroup.read(base / "cgroup.controllers").split()
        self.enforced = tuple(name for name in _ENFORCED if name in available)
        self._enable(base)
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o755)  # whatever the umask is: the gateway reads the memory of all
        self._enable(self._folder)
        cgroup.write_if_there(self._folder / "memory.max", pool_memory_bytes)
        self.freezer = (self._folder / "cgroup.freeze").exists()  # Linux 5.2
        self.memory_group = self._folder if "memory" in self.enforced else None

    def _enable(self, folder: Path) -> None:
        if self.enforced:
            wanted = " ".join(f"+{name}" for name in self.enforced)
            cgroup.write(folder / "cgroup.subtree_control", wanted)

    def create(self, name: str, limits: Limits, uid: int | None = None) -> V2Leaf:
        folder = self._folder / name
        folder.mkdir()
        leaf = V2Leaf(folder)
        try:
            leaf.limit(limits)
        except OSError:
            leaf.remove()
            raise
        return leaf

    def adopt(self, name: str, limits: Limits) -> V2Leaf:
        folder = self._folder / name
        folder.stat()
        leaf = V2Leaf(folder)
        leaf.limit(limits)  # they were lost if the controllers were disabled meanwhile
        return leaf

    def leftovers(self, but: Collection[str] = ()) -> list[cgroup.Leaf]:
        found = [child for child in sorted(self._folder.iterdir()) if child.is_dir()]
        return [V2Leaf(child) for child in found if child.name not in but]

    def remove(self) -> None:
        cgroup.remove_tree(self._folder)

    def parents(self) -> list[Path]:
        return [self._folder]
