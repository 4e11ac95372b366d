"""``chromepool doctor``: checks of this machine, each with a remedy where it fails."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
from collections.abc import Callable
from typing import Literal

from chromepool.config import Settings
from chromepool.errors import ChromepoolError
from chromepool.gateway.capacity import memory
from chromepool.setting import MIB
from chromepool.supervisor import host
from chromepool.supervisor.chrome import command_line as chrome

Verdict = Literal["ok", "warn", "fail"]
_MIN_FILES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def check_chrome(settings: Settings) -> Finding:
    """Check that there is a Chrome, and that it runs."""
    try:
        path = chrome.find(settings.chrome)
        run = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except ChromepoolError as error:
        return Finding("Chrome", "fail", error.detail, error.remedy)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("Chrome", "fail", f"Chrome does not run: {error}", chrome.INSTALL)
    if run.returncode != 0:
        return Finding("Chrome", "fail", f"{path}: {run.stderr.strip()[-200:]}", chrome.INSTALL)
    return Finding("Chrome", "ok", f"{run.stdout.strip()} ({path})")


def check_sandbox(settings: Settings) -> Finding:
    """Check that Chrome's sandbox can start."""
    problem = host.check_sandbox(settings)
    if problem:
        detail = f"the user of a session cannot create user namespaces: {problem}"
        return Finding("sandbox", "fail", detail, host.SANDBOX_REMEDY)
    return Finding("sandbox", "ok", "the user of a session can create user namespaces")


def check_cgroups(settings: Settings) -> Finding:
    """Check that control groups can limit sessions."""
    probe = dataclasses.replace(settings, state_dir=f"{settings.state_dir}-doctor-{os.getpid()}")
    tree = host.open_tree(probe)
    try:
        missing = {"memory", "cpu", "pids"} - set(tree.enforced)
    finally:
        tree.remove()
    if missing:
        return Finding(
            "control groups",
            "warn",
            f"{tree.version}; sessions are not limited in {', '.join(sorted(missing))}",
            "Run as root, or as a systemd unit with Delegate=yes; in a container, limit that.",
        )
    return Finding("control groups", "ok", f"{tree.version}: memory, cpu and pids are enforced")


def check_isolation(settings: Settings) -> Finding:
    """Check that a session can have its own uid, /tmp and /dev/shm."""
    problem = host.check_mounts(settings)
    if problem:
        return Finding("isolation", "warn", problem, "Run the daemon as root.")
    return Finding("isolation", "ok", "each session has its own uid, /tmp and /dev/shm")


def check_shm(settings: Settings) -> Finding:
    """Check the size of /dev/shm."""
    size = chrome.shm_size()
    if size >= chrome.SMALL_SHM_BYTES:
        return Finding("/dev/shm", "ok", f"{size // MIB} MiB")
    detail = f"{size // MIB} MiB; where sessions share it, Chrome uses /tmp instead"
    return Finding("/dev/shm", "warn", detail, "Enlarge /dev/shm; in a container: --shm-size=1g.")


def check_files(settings: Settings) -> Finding:
    """Check the hard limit of open files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _MIN_FILES:
        return Finding("open files", "ok", f"up to {hard}")
    return Finding(
        "open files", "warn", f"up to {hard}", f"Raise the hard limit (ulimit -Hn) to {_MIN_FILES}."
    )


def check_memory(settings: Settings) -> Finding:
    """Check that the machine, or the container, has the memory of the pool's cap."""
    group = host.own_memory_group()
    available = memory.left(str(group or "")) or 0
    detail = f"{available // MIB} MiB available, pool up to {settings.pool_memory_bytes // MIB} MiB"
    if available < settings.pool_memory_bytes:
        return Finding("memory", "warn", detail, "Lower pool_memory_bytes, or free memory.")
    return Finding("memory", "ok", detail)


CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    check_chrome,
    check_sandbox,
    check_cgroups,
    check_isolation,
    check_shm,
    check_files,
    check_memory,
)


def examine(settings: Settings) -> list[Finding]:
    """Run every check."""
    return [check(settings) for check in CHECKS]
