"""``chromepool doctor``: checks of this machine, each with a remedy where it fails."""

import dataclasses
import os
import resource
import subprocess
from typing import Literal

from chromepool.config import Settings
from chromepool.errors import ChromepoolError
from chromepool.gateway.capacity import memory
from chromepool.setting import MIB
from chromepool.supervisor import host
from chromepool.supervisor.chrome import command_line as chrome

_MIN_FILES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def _chrome(settings: Settings) -> Finding:
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


def _sandbox(settings: Settings) -> Finding:
    problem = host.check_sandbox(settings)
    if problem:
        detail = f"the user of a session cannot create user namespaces: {problem}"
        return Finding("sandbox", "fail", detail, host.SANDBOX_REMEDY)
    return Finding("sandbox", "ok", "the user of a session can create user namespaces")


def _cgroups(settings: Settings) -> Finding:
    probe = dataclasses.replace(settings, state_dir=f"{settings.state_dir}-doctor-{os.getpid()}")
    tree = host.open_tree(probe)
    try:
        missing = ", ".join(sorted({"memory", "cpu", "pids"} - set(tree.enforced)))
    finally:
        tree.remove()
    if missing:
        detail = f"{tree.version}; sessions are not limited in {missing}"
        remedy = "Run as root, or as a systemd unit with Delegate=yes; in a container, limit that."
        return Finding("control groups", "warn", detail, remedy)
    return Finding("control groups", "ok", f"{tree.version}: memory, cpu and pids are enforced")


def _isolation(settings: Settings) -> Finding:
    problem = host.check_mounts(settings)
    if problem:
        return Finding("isolation", "warn", problem, "Run the daemon as root.")
    return Finding("isolation", "ok", "each session has its own uid, /tmp and /dev/shm")


def _shm(settings: Settings) -> Finding:
    size = chrome.shm_size()
    if size >= chrome.SMALL_SHM_BYTES:
        return Finding("/dev/shm", "ok", f"{size // MIB} MiB")
    detail = f"{size // MIB} MiB; where sessions share it, Chrome uses /tmp instead"
    return Finding("/dev/shm", "warn", detail, "Enlarge /dev/shm; in a container: --shm-size=1g.")


def _files(settings: Settings) -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _MIN_FILES:
        return Finding("open files", "ok", f"up to {hard}")
    remedy = f"Raise the hard limit (ulimit -Hn) to {_MIN_FILES}."
    return Finding("open files", "warn", f"up to {hard}", remedy)


def _memory(settings: Settings) -> Finding:
    """Check that the machine, or the container, has the memory of the pool's cap."""
    available = memory.left(str(host.own_memory_group() or "")) or 0
    detail = f"{available // MIB} MiB available, pool up to {settings.pool_memory_bytes // MIB} MiB"
    if available < settings.pool_memory_bytes:
        return Finding("memory", "warn", detail, "Lower pool_memory_bytes, or free memory.")
    return Finding("memory", "ok", detail)


def examine(settings: Settings) -> list[Finding]:
    """Run every check."""
    checks = (_chrome, _sandbox, _cgroups, _isolation, _shm, _files, _memory)
    return [check(settings) for check in checks]
