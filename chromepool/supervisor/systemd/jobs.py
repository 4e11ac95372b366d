"""The systemd unit this process belongs to, and the job that systemd runs for it."""

import subprocess
from pathlib import Path

from chromepool.logs import Log
from chromepool.supervisor.linux.cgroup import v2 as cgroup_v2

log = Log("chromepool.supervisor")

_BELOW = (".control", "daemon")
"""Groups below a unit's: systemd's for control commands, and the daemon's own leaf."""
_SYSTEMCTL_S = 5.0


def own_unit() -> Path | None:
    """Return the unit's control group (v2); None where there is none."""
    point = cgroup_v2.mount_point(Path("/proc/self/mountinfo").read_text())
    if point is None:
        return None
    own = cgroup_v2.own_group(point, Path("/proc/self/cgroup").read_text())
    return own.parent if own.name in _BELOW else own


def pending_job(unit: Path | None) -> str:
    """Return the type of the unit's job, such as ``stop`` or ``restart``; "" where there is none.

    Likewise where systemctl fails, which is logged: sessions that a restart would keep end then.
    """
    if unit is None:
        return ""
    user = ["--user"] if "/user@" in str(unit) else []
    argv = ["systemctl", *user, "list-jobs", "--no-legend", "--plain", unit.name]
    try:
        run = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=_SYSTEMCTL_S
        )
        if run.returncode:
            output = (run.stderr or run.stdout).strip()
            raise OSError(output or f"it exited with {run.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("systemctl.failed", error=error)
        return ""
    rows = [line.split() for line in run.stdout.splitlines()]
    return next((row[2] for row in rows if row[1:2] == [unit.name] and len(row) > 2), "")
