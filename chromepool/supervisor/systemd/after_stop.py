"""``chromepool after-stop``, which systemd runs once the daemon's own process is gone.

The unit's ``KillMode=process`` spares the sessions of a crashed daemon, for the next one to take
over. Where none comes, this ends them; where one comes, this makes room for it. systemd before 254
puts the new daemon into the unit's own group, which the kernel refuses (EBUSY) while that hands
controllers down: "no internal processes", cgroups(7). So they are disabled, and the next daemon
enables them again. What a leaf had counted is lost by that: its memory stays charged to the unit,
but not to the leaf's new memory.max, and memory.peak and memory.events begin at zero.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError
from chromepool.logs import Log
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup.removal import Group, groups_in
from chromepool.supervisor.locks import lock_folder
from chromepool.supervisor.reconcile import recorded_pools, remove_leftovers
from chromepool.supervisor.systemd.jobs import own_unit, pending_job

log = Log("chromepool.supervisor")

_RESTARTED = {"signal", "core-dump", "watchdog", "exit-code", "oom-kill"}
"""Results after which ``Restart=on-failure`` starts the daemon again (systemd.service(5))."""


def after_stop(settings: Settings, environ: Mapping[str, str], *, keep_controllers: bool) -> None:
    """End every session, or make room for the next daemon. Do nothing while a daemon runs.

    ``keep_controllers`` where ``DelegateSubgroup=`` puts the next daemon into another group.
    """
    try:
        lock = lock_folder(settings.state_dir)
    except (HostError, OSError):  # another daemon has the folder, or none ever made it
        return
    try:
        pools = recorded_pools(settings)
        unit = own_unit()
        if not (settings.fd_store and restarts(environ.get("SERVICE_RESULT", ""), unit)):
            # The unit's leaf has processes of the daemon; kept profiles stay.
            leaves = [Group(unit / "daemon") for pool in pools if unit and unit == pool.parent]
            leaves += [group for pool in pools for group in groups_in(pool)]
            remove_leftovers(settings, leaves)
        elif not keep_controllers:
            for pool in pools:
                disable_controllers(pool, unit)
    finally:
        os.close(lock)


def restarts(result: str, unit: Path | None) -> bool:
    """Return whether systemd will start the daemon again, whose SERVICE_RESULT is ``result``.

    It does after a crash, unless a stop was requested meanwhile, and in the middle of a restart.
    """
    job = pending_job(unit)
    return job == "restart" or (result in _RESTARTED and job != "stop")


def disable_controllers(pool: Path, unit: Path | None) -> None:
    """Disable the controllers, the pool's first, where the pool is in the unit's own group."""
    if pool.parent != unit:  # it lies at the top of the hierarchy, which is not ours to change
        return
    for folder in (pool, unit):
        enabled = cgroup.read(folder / "cgroup.subtree_control").split()
        try:
            for name in enabled:
                cgroup.write(folder / "cgroup.subtree_control", f"-{name}")
        except OSError as error:  # the next start fails, and systemd reports it
            log.error("cgroup.release_failed", error=error)
