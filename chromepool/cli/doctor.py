"""``chromepool doctor``: what works on this machine, and what to do about the rest."""

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

    def as_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return dataclasses.asdict(self)


def check_chrome(settings: Settings) -> Finding:
    """Is there a Chrome that runs?"""
    try:
        path = chrome.find(settings.chrome)
        run = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except ChromepoolError as error:
        return Finding("Chrome", "fail", error.detail, error.remedy)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("Chrome", "fail", f"it does not run: {error}", chrome.INSTALL)
    if run.returncode != 0:
        return Finding("Chrome", "fail", f"{path}: {run.stderr.strip()[-200:]}", chrome.INSTALL)
    return Finding("Chrome", "ok", f"{run.stdout.strip()} ({path})")


def check_sandbox(settings: Settings) -> Finding:
    """Can Chrome's sandbox start?"""
    problem = host.check_sandbox(settings)
    if problem:
        return Finding("sandbox", "fail", f"user namespaces: {problem}", host.SANDBOX_REMEDY)
    return Finding("sandbox", "ok", "user namespaces can be made by the sessions' user")


def check_cgroups(settings: Settings) -> Finding:
    """Can sessions be limited?"""
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
            "Run as root, or as a systemd unit with Delegate=yes; in a container, cap that.",
        )
    return Finding("control groups", "ok", f"{tree.version}: memory, cpu and pids are enforced")


def check_isolation(settings: Settings) -> Finding:
    """Do sessions get a uid, /tmp and /dev/shm of their own?"""
    problem = host.check_mounts(settings)
    if problem:
        return Finding("isolation", "warn", problem, "Run the daemon as root.")
    return Finding("isolation", "ok", "each session has a uid, /tmp and /dev/shm of its own")


def check_shm(settings: Settings) -> Finding:
    """Is /dev/shm large enough?"""
    size = chrome.shm_size()
    if size >= chrome.SMALL_SHM_BYTES:
        return Finding("/dev/shm", "ok", f"{size // MIB} MiB")
    detail = f"{size // MIB} MiB; Chrome is told to use /tmp where sessions share it"
    return Finding("/dev/shm", "warn", detail, "In a container: --shm-size=1g.")


def check_files(settings: Settings) -> Finding:
    """Are enough open files allowed?"""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= _MIN_FILES:
        return Finding("open files", "ok", f"up to {hard}")
    return Finding(
        "open files", "warn", f"up to {hard}", f"Raise the hard limit (ulimit -Hn) to {_MIN_FILES}."
    )


def check_memory(settings: Settings) -> Finding:
    """Does the pool's cap fit the machine, or the container?"""
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
    """Every check's finding."""
    return [check(settings) for check in CHECKS]
