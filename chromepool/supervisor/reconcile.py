"""Boot: what an earlier life left is ended and removed before the first new session.

The pool's locks are held, so whatever lies in its control groups and profile folder belongs to
nobody that lives.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from chromepool.config import Settings
from chromepool.logs import Log
from chromepool.supervisor.chrome.process import remove_argv
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup.tree import Leaf, Tree

log = Log("chromepool.supervisor")

_TIMEOUT_S = 10.0


def _end(leaf: Leaf, deadline: float) -> None:
    while True:
        leaf.kill()
        if not leaf.pids():
            with contextlib.suppress(OSError):
                leaf.remove()
                return
        if time.monotonic() > deadline:
            log.error("cgroup.left", error="it does not empty", pids=leaf.pids())
            return
        time.sleep(0.01)


def _forget_old_parents(record: Path, tree: Tree) -> None:
    """v1 parents lie below the daemon's own group, which may be another one in each life."""
    current = [str(path) for path in tree.parents()]
    for line in cgroup.read(record).splitlines():
        folder = Path(line)
        if line not in current and folder.name.startswith("chromepool-"):
            _end_folder(folder)
    record.write_text("\n".join(current))


def _end_folder(folder: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while folder.is_dir() and time.monotonic() < deadline:
        for child in folder.iterdir():
            if child.is_dir():
                cgroup.kill_pids(child)
        with contextlib.suppress(OSError):
            cgroup.remove_tree(folder)
        time.sleep(0.01)


def reconcile(settings: Settings, tree: Tree, kept: Collection[str] = ()) -> None:
    """Ends leftover processes, then removes their groups and profiles, but for those of the
    sessions of these names, which go on."""
    _forget_old_parents(Path(settings.state_dir) / "cgroups", tree)
    leaves = tree.leftovers(kept)
    for leaf in leaves:
        _end(leaf, time.monotonic() + _TIMEOUT_S)
    found = list(settings.profiles_dir.iterdir())
    profiles = [profile for profile in found if profile.name not in kept]
    if profiles:
        subprocess.run(remove_argv(profiles), check=False, stderr=subprocess.DEVNULL)
    for profile in profiles:
        if profile.exists():
            log.error("profile.left", path=profile)
    if leaves or profiles:
        log.warning("leftovers.removed", groups=len(leaves), profiles=len(profiles))
