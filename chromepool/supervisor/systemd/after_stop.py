"""``chromepool after-stop``: what systemd runs once the daemon's own process is gone.

The unit's ``KillMode=process`` leaves the sessions of a crashed daemon alone, so that the next one
can take them. It leaves them also where no next one comes: then this ends them. Where one comes,
this makes room for it. systemd before 254 puts the new daemon into the unit's own group, and the
kernel refuses that (EBUSY) while the group hands controllers down to others: "no internal
processes", cgroups(7). So the controllers are taken back, and the next life turns them on again.
What a leaf had counted is then lost: its memory stays charged to the unit, but not to the leaf's
new memory.max, and memory.peak and memory.events begin anew.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError
from chromepool.logs import Log
from chromepool.supervisor import sockets
from chromepool.supervisor.chrome.process import remove_argv
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup import v2 as cgroup_v2
from chromepool.supervisor.systemd.jobs import own_unit, pending_job

log = Log("chromepool.supervisor")

RECORD = "cgroups"
"""File of the state folder that names the groups the pool has made."""
_RESTARTED = {"signal", "core-dump", "watchdog", "exit-code", "oom-kill"}
"""Results after which ``Restart=on-failure`` starts the daemon again (systemd.service(5))."""
_TIMEOUT_S = 10.0
_POLL_S = 0.02


def after_stop(settings: Settings, environ: Mapping[str, str], *, keep_controllers: bool) -> None:
    """Ends everything, or makes room for the next life. Does nothing while a daemon lives.

    ``keep_controllers`` where the new daemon is not put into the unit's own group
    (``DelegateSubgroup=``).
    """
    try:
        lock = sockets.lock(settings.state_dir)
    except HostError:  # another daemon has the folder already
        return
    except OSError:  # no folder: no daemon ever got so far
        return
    try:
        pools = recorded(settings)
        result = environ.get("SERVICE_RESULT", "")
        if settings.fd_store and restarts(result, own_unit()):
            for pool in pools if not keep_controllers else ():
                take_controllers_back(pool, own_unit())
        else:
            end_all(pools, settings)
    finally:
        os.close(lock)


def recorded(settings: Settings) -> list[Path]:
    """The pool's groups as the daemon wrote them down."""
    lines = cgroup.read(Path(settings.state_dir) / RECORD).splitlines()
    pools = [Path(line) for line in lines]
    return [pool for pool in pools if pool.name.startswith("chromepool-") and pool.is_dir()]


def restarts(result: str, unit: Path | None) -> bool:
    """Whether systemd will start the daemon again: after a crash, unless somebody has asked for a
    stop meanwhile, and in the middle of a restart. ``result`` is its SERVICE_RESULT."""
    job = pending_job(unit)
    return job == "restart" or (result in _RESTARTED and job != "stop")


def take_controllers_back(pool: Path, unit: Path | None) -> None:
    """Turns the controllers off, the pool's first. Only in a unit's own group: the machine's top
    is not ours."""
    if pool.parent != unit:
        return
    for folder in (pool, unit):
        enabled = cgroup.read(folder / "cgroup.subtree_control").split()
        try:
            for name in enabled:
                cgroup.write(folder / "cgroup.subtree_control", f"-{name}")
        except OSError as error:  # the next start fails, and systemd says so
            log.error("cgroup.not_released", error=error)


def end_all(pools: list[Path], settings: Settings) -> None:
    """SIGKILL to all that is in the pool's groups and beside them in the unit, then their
    removal and that of the profiles. Kept profiles stay."""
    deadline = time.monotonic() + _TIMEOUT_S
    unit = own_unit()
    for pool in pools:
        beside = [unit / "daemon"] if unit == pool.parent else []
        for group in [*pool.iterdir(), *beside]:
            if group.is_dir():
                _end(group, deadline)
        _end(pool, deadline)
    profiles = list(settings.profiles_dir.iterdir()) if settings.profiles_dir.is_dir() else []
    if profiles:
        subprocess.run(remove_argv(profiles), check=False, stderr=subprocess.DEVNULL)
    if pools or profiles:
        log.warning("leftovers.removed", groups=len(pools), profiles=len(profiles))


def _end(group: Path, deadline: float) -> None:
    """Kills what is in a group until it can be removed."""
    while group.is_dir():
        try:
            cgroup.write_if_there(group / "freezer.state", "THAWED")  # v1: the frozen hear nothing
            cgroup_v2.V2Leaf(group).kill()  # which does without what v1 has not
            cgroup.remove_tree(group)
        except OSError as error:
            if time.monotonic() > deadline:
                log.error("cgroup.left", error=error, pids=cgroup.read_pids(group))
                return
            time.sleep(_POLL_S)
