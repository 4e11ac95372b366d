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
from collections.abc import Mapping
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError
from chromepool.logs import Log
from chromepool.supervisor import sockets
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup.removal import Group, groups_in
from chromepool.supervisor.reconcile import recorded_pools, remove_leftovers
from chromepool.supervisor.systemd.jobs import own_unit, pending_job

log = Log("chromepool.supervisor")

_RESTARTED = {"signal", "core-dump", "watchdog", "exit-code", "oom-kill"}
"""Results after which ``Restart=on-failure`` starts the daemon again (systemd.service(5))."""


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
        pools = recorded_pools(settings)
        result = environ.get("SERVICE_RESULT", "")
        if settings.fd_store and restarts(result, own_unit()):
            for pool in pools if not keep_controllers else ():
                take_controllers_back(pool, own_unit())
        else:
            end_all(pools, settings)
    finally:
        os.close(lock)


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
    unit = own_unit()
    beside = [Group(unit / "daemon") for pool in pools if unit is not None and unit == pool.parent]
    remove_leftovers(settings, [*beside, *(group for pool in pools for group in groups_in(pool))])
