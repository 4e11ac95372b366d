"""The end of control groups that a daemon has left: after a crash, at boot, or at its stop."""

import time
from collections.abc import Iterable
from pathlib import Path

from chromepool.logs import Log
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup.tree import Leaf
from chromepool.supervisor.linux.cgroup.v2 import V2Leaf

log = Log("chromepool.supervisor")

_POLL_S = 0.005


class Group(V2Leaf):
    """A group of either version of which only the folder is known."""

    def kill(self) -> None:
        # In v1 what is frozen takes no signal; the rest of a v2 leaf does without what v1 lacks.
        cgroup.write_if_there(self._folder / "freezer.state", "THAWED")
        super().kill()


def groups_in(pool: Path) -> list[Group]:
    """Return a pool's group and those in it, whichever version they are of."""
    return [Group(folder) for folder in (*pool.iterdir(), pool) if folder.is_dir()]


def kill_and_remove(leaves: Iterable[Leaf], deadline: float) -> None:
    """Kill every process in these groups, and remove the groups once they are empty.

    All are killed before any is waited for: one that hangs in the kernel must not keep the others
    alive. What is left at ``deadline`` (monotonic) is logged.
    """
    left = list(leaves)
    while left := [leaf for leaf in left if not _is_removed(leaf)]:
        if time.monotonic() > deadline:
            for leaf in left:
                log.error("cgroup.removal_failed", error="it does not empty", pids=leaf.pids())
            return
        time.sleep(_POLL_S)


def _is_removed(leaf: Leaf) -> bool:
    try:
        leaf.kill()
        if leaf.pids():
            return False
        leaf.remove()
    except OSError:  # EBUSY: a process is not quite gone; ENOENT: another daemon removes it too
        return False
    return True
