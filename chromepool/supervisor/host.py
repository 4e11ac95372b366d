"""Examination of the machine, before the first session needs what it lacks."""

import contextlib
import functools
import hashlib
import os
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError
from chromepool.logs import Log
from chromepool.model import Host
from chromepool.startup import become
from chromepool.supervisor.chrome import command_line as chrome
from chromepool.supervisor.linux.cgroup import v1, v2
from chromepool.supervisor.linux.cgroup.none import UncappedTree
from chromepool.supervisor.linux.cgroup.tree import Tree
from chromepool.supervisor.linux.namespaces import PrivateMounts, hides, sandbox_attempt, succeeds

log = Log("chromepool.supervisor")

SANDBOX_REMEDY = (
    "Allow unprivileged user namespaces: sysctl user.max_user_namespaces=10000; on Ubuntu 23.10+ "
    "also kernel.apparmor_restrict_unprivileged_userns=0; in a container a seccomp profile that "
    "permits clone, unshare and chroot: deploy/seccomp.json. To run Chrome without its sandbox, "
    "with which any page that breaks a renderer has the session's uid, start with --no-sandbox."
)


def instance_name(state_dir: str) -> str:
    """Return the name of the pool's control group, which the state folder decides."""
    digest = hashlib.sha256(os.path.abspath(state_dir).encode()).hexdigest()
    return f"chromepool-{digest[:10]}"


def open_tree(settings: Settings) -> Tree:
    """Return the control groups to use: v2 with controllers, v1, bare v2 (no caps), or none."""
    mountinfo, own = _mounts_and_groups()
    name = instance_name(settings.state_dir)
    point = v2.mount_point(mountinfo)
    unified = point is not None and "memory" in (point / "cgroup.controllers").read_text().split()
    if not unified:
        found = v1.hierarchies(mountinfo, own)
        tree = v1.V1Tree(found, name, settings.pool_memory_bytes)
        if tree.parents():
            return tree
    if point is not None:
        with contextlib.suppress(OSError):  # not ours to write: examine() warns of it
            base = v2.choose_base(point, v2.own_group(point, own))
            return v2.V2Tree(base, name, settings.pool_memory_bytes)
    return UncappedTree()


def memory_bound(mountinfo: str, own: str) -> Path | None:
    """Return the group that counts this process's memory; None where none is visible.

    The texts are those of /proc/self/mountinfo and /proc/self/cgroup.
    """
    memory = v1.hierarchies(mountinfo, own).get("memory")
    if memory is not None:
        return memory
    point = v2.mount_point(mountinfo)
    if point is None:
        return None
    group = v2.own_group(point, own)
    return group if group.is_dir() else point  # only a part of the hierarchy is mounted


def own_memory_group() -> Path | None:
    """:func:`memory_bound` of this process."""
    return memory_bound(*_mounts_and_groups())


def _mounts_and_groups() -> tuple[str, str]:
    return Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()


def session_uid(settings: Settings) -> int | None:
    """Return a uid that sessions run as, None where they run as the daemon's user."""
    return settings.uid_base if os.geteuid() == 0 else None


def check_sandbox(settings: Settings) -> str:
    """Return why Chrome's sandbox cannot start here, or ""."""
    return succeeds(functools.partial(sandbox_attempt, session_uid(settings)))


def check_mounts(settings: Settings) -> str:
    """Return why a session cannot have a private /tmp, /dev/shm and view of /proc, or ""."""
    if os.geteuid() != 0:
        return "only root can give each session its own /tmp and /dev/shm"
    return succeeds(PrivateMounts(settings.uid_base, 1 << 20, Path("/var")).enter)


def check_profiles(settings: Settings) -> str:
    """Return why a session's uid cannot reach the profiles' folder, or ""."""
    uid = session_uid(settings)
    if uid is None:
        return ""

    def visit() -> None:
        become(uid)
        settings.profiles_dir.stat()

    return succeeds(visit)


def _check_visible(settings: Settings, chrome_path: str, *, private_mounts: bool) -> None:
    """Raise :class:`HostError` where a session could not see its Chrome or its profile."""
    if private_mounts and hides(Path(chrome_path)):
        raise HostError(
            f"Sessions cannot see {chrome_path}: each has a private /tmp and /dev/shm.",
            remedy="Install Chrome in another folder, and name it with --chrome.",
        )
    unreachable = check_profiles(settings)
    # Below a private /tmp the folders above the profile are new ones, which its uid can pass.
    if unreachable and not (private_mounts and hides(settings.profiles_dir)):
        raise HostError(
            f"Sessions cannot reach their profiles: {unreachable}.",
            remedy="Let other users pass the folders above (chmod o+x), or set state_dir.",
        )


def examine(settings: Settings, tree: Tree) -> Host:
    """Return what sessions get here, and log what they lack; raises HostError where too much."""
    path = chrome.find(settings.chrome)
    no_sandbox = check_sandbox(settings)
    if no_sandbox and not settings.no_sandbox:
        raise HostError(f"Chrome's sandbox cannot start: {no_sandbox}.", remedy=SANDBOX_REMEDY)
    no_mounts = check_mounts(settings)
    _check_visible(settings, path, private_mounts=not no_mounts)
    privileged = os.geteuid() == 0
    missing = ", ".join(name for name in ("memory", "cpu", "pids") if name not in tree.enforced)
    warnings = {
        f"Sessions are NOT limited in {missing}: no writable control group enforces it "
        f"(cgroups: {tree.version}). Run as root, or as a systemd unit with Delegate=yes; "
        "in a container, limit the container.": missing,
        f"Sessions share /tmp and /dev/shm: {no_mounts}.": no_mounts,
        "Sessions share one uid. Run as root to give each its own.": not privileged,
        "Chrome's sandbox is OFF: no_sandbox is set.": settings.no_sandbox,
    }
    found = tuple(text for text, is_so in warnings.items() if is_so)
    for warning in found:
        log.warning("host.degraded", detail=warning)
    return Host(
        privileged=privileged,
        cgroup=tree.version,
        enforced=tree.enforced,
        private_mounts=not no_mounts,
        sandbox=not settings.no_sandbox,
        chrome=path,
        warnings=found,
        freezer=tree.freezer,
        memory_group=str(tree.memory_group or ""),
        memory_bound="" if tree.memory_group else str(own_memory_group() or ""),
    )
