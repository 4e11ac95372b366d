"""Control groups v1: a leaf is one directory in the hierarchy of each controller."""

import contextlib
import errno
from collections.abc import Collection
from pathlib import Path

from chromepool.model import Limits, Usage
from chromepool.supervisor.linux.cgroup import tree as cgroup

_CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "freezer")
_ENFORCED = ("memory", "cpu", "pids")
_PERIOD_US = 100_000


def hierarchies(mountinfo: str, own: str) -> dict[str, Path]:
    """Return controller → directory of this process's group in its hierarchy.

    ``mountinfo`` and ``own`` are the texts of /proc/self/mountinfo and /proc/self/cgroup. In a
    container a mount may show only a part of the hierarchy (field 4); the path is relative to it.
    """
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        paths |= dict.fromkeys(names.split(","), path)
    found = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind != "cgroup":
            continue
        root, point = left.split()[3:5]
        for name in _CONTROLLERS:
            if name in options.split(","):
                path = paths.get(name, "/")
                inside = Path(path).relative_to(root) if Path(path).is_relative_to(root) else "."
                found[name] = Path(point) / inside
    return found


class V1Leaf:
    """The group of a session in each hierarchy."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        # A process is added to one hierarchy after another: half in, it must not be thought gone.
        self._procs = folders.get("pids") or next(iter(folders.values()))

    def _file(self, controller: str, name: str) -> Path:
        return self._folders.get(controller, Path("/nonexistent")) / name

    def limit(self, limits: Limits) -> None:
        """Set the caps that this machine's controllers can enforce."""
        if "memory" in self._folders:
            cgroup.write(self._file("memory", "memory.limit_in_bytes"), limits.memory_bytes)
            swap = self._file("memory", "memory.memsw.limit_in_bytes")
            cgroup.write_if_there(swap, limits.memory_bytes)
        if "pids" in self._folders:
            cgroup.write(self._file("pids", "pids.max"), limits.pids)
        if "cpu" in self._folders and limits.cpu_cores:
            cgroup.write(self._file("cpu", "cpu.cfs_period_us"), _PERIOD_US)
            quota = max(1000, int(limits.cpu_cores * _PERIOD_US))
            cgroup.write(self._file("cpu", "cpu.cfs_quota_us"), quota)
        if "cpu" in self._folders:  # 1024 shares are what v2 calls a weight of 100
            cgroup.write(self._file("cpu", "cpu.shares"), max(2, limits.cpu_weight * 1024 // 100))

    def add(self, pid: int) -> None:
        for folder in self._folders.values():
            cgroup.write(folder / "cgroup.procs", pid)

    def pids(self) -> list[int]:
        return cgroup.read_pids(self._procs)

    def kill(self) -> None:
        # No more forks from here on, so that the walk over the group ends.
        cgroup.write_if_there(self._file("pids", "pids.max"), 0)
        self.freeze(False)
        cgroup.kill_pids(self._procs)

    def freeze(self, frozen: bool) -> None:
        state = "FROZEN" if frozen else "THAWED"
        cgroup.write_if_there(self._file("freezer", "freezer.state"), state)

    def usage(self) -> Usage:
        cpu_ns = cgroup.read_int(self._file("cpuacct", "cpuacct.usage"))
        memory = self._folders.get("memory", Path("/nonexistent"))
        pids = self.pids()
        return Usage(
            memory_bytes=cgroup.read_int(memory / "memory.usage_in_bytes"),
            memory_peak_bytes=cgroup.read_int(memory / "memory.max_usage_in_bytes"),
            cpu_s=None if cpu_ns is None else cpu_ns / 1e9,
            processes=len(pids),
            files=cgroup.count_files(pids),
            oom_kills=cgroup.read_key(memory / "memory.oom_control", "oom_kill"),
            pids_refused=cgroup.read_key(self._file("pids", "pids.events"), "max"),
        )

    def remove(self) -> None:
        for folder in self._folders.values():
            cgroup.remove_tree(folder)


class V1Tree:
    """The pool's group in each hierarchy."""

    version = "v1"

    def __init__(self, own: dict[str, Path], name: str, pool_memory_bytes: int) -> None:
        """Make the parents, without the controllers that cannot be written to."""
        self._folders: dict[str, Path] = {}
        for controller, folder in own.items():
            try:
                (folder / name).mkdir(exist_ok=True)
                (folder / name).chmod(0o755)  # whatever the umask is
            except OSError:
                continue
            self._folders[controller] = folder / name
        self._pool_memory_bytes = pool_memory_bytes
        # EBUSY: what an earlier daemon left uses more. It is ended before the first create.
        with contextlib.suppress(OSError):
            self._cap()
        self.enforced = tuple(name for name in _ENFORCED if name in self._folders)
        self.freezer = "freezer" in self._folders
        self.memory_group = self._folders.get("memory")

    def _cap(self) -> None:
        if "memory" in self._folders:
            memory = self._folders["memory"]
            cgroup.write_if_there(memory / "memory.use_hierarchy", 1)
            cgroup.write(memory / "memory.limit_in_bytes", self._pool_memory_bytes)

    def create(self, name: str, limits: Limits, uid: int | None = None) -> V1Leaf:
        self._cap()
        folders = {controller: parent / name for controller, parent in self._folders.items()}
        for folder in folders.values():
            folder.mkdir(exist_ok=True)  # cpu and cpuacct may be one hierarchy
        leaf = V1Leaf(folders)
        try:
            leaf.limit(limits)
        except OSError:
            leaf.remove()
            raise
        return leaf

    def adopt(self, name: str, limits: Limits) -> V1Leaf:
        found = {c: f / name for c, f in self._folders.items() if (f / name).is_dir()}
        if not found:
            raise FileNotFoundError(errno.ENOENT, "no control group", name)
        leaf = V1Leaf(found)
        leaf.limit(limits)
        return leaf

    def leftovers(self, but: Collection[str] = ()) -> list[cgroup.Leaf]:
        names = {
            child.name
            for folder in self._folders.values()
            for child in folder.iterdir()
            if child.is_dir() and child.name not in but
        }
        leaves: list[cgroup.Leaf] = []
        for name in sorted(names):
            found = {c: f / name for c, f in self._folders.items() if (f / name).is_dir()}
            leaves.append(V1Leaf(found))
        return leaves

    def remove(self) -> None:
        for folder in self._folders.values():
            cgroup.remove_tree(folder)

    def parents(self) -> list[Path]:
        return list(self._folders.values())
