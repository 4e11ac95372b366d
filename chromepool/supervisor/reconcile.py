"""Removal of what an earlier daemon left, at boot and when none follows.

The pool's locks are held meanwhile, so what is found belongs to no daemon that runs.
"""

import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from chromepool.config import Settings
from chromepool.logs import Log
from chromepool.supervisor.chrome.process import remove_argv
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup.removal import groups_in, kill_and_remove
from chromepool.supervisor.linux.cgroup.tree import Leaf, Tree

log = Log("chromepool.supervisor")

RECORD = "cgroups"
"""File of the state folder that lists the groups the pool has made."""
_TIMEOUT_S = 10.0


def reconcile(settings: Settings, tree: Tree, kept: Collection[str] = ()) -> None:
    """End what an earlier daemon left, but for the sessions of these names, which continue."""
    # v1 parents lie below the daemon's own group, which may be another one at each start.
    current = tree.parents()
    old = [pool for pool in recorded_pools(settings) if pool not in current]
    leaves = [*tree.leftovers(kept), *(group for pool in old for group in groups_in(pool))]
    remove_leftovers(settings, leaves, kept)
    (Path(settings.state_dir) / RECORD).write_text("\n".join(map(str, current)))


def recorded_pools(settings: Settings) -> list[Path]:
    """Return the pool's groups that an earlier daemon has recorded, as far as they exist."""
    lines = cgroup.read(Path(settings.state_dir) / RECORD).splitlines()
    pools = [Path(line) for line in lines]
    return [pool for pool in pools if pool.name.startswith("chromepool-") and pool.is_dir()]


def remove_leftovers(
    settings: Settings, leaves: Sequence[Leaf], kept: Collection[str] = ()
) -> None:
    """End these groups, and remove all profile folders that go with a session but those kept."""
    kill_and_remove(leaves, time.monotonic() + _TIMEOUT_S)
    folder = settings.profiles_dir
    found = list(folder.iterdir()) if folder.is_dir() else []
    profiles = [profile for profile in found if profile.name not in kept]
    if profiles:
        subprocess.run(remove_argv(profiles), check=False, stderr=subprocess.DEVNULL)
    for profile in profiles:
        if profile.exists():
            log.error("profile.removal_failed", path=profile)
    if leaves or profiles:
        log.warning("leftovers.removed", groups=len(leaves), profiles=len(profiles))
