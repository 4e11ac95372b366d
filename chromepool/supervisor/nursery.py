"""Starting Chromes: a group, a uid, a profile and pipes for each, all of it or nothing."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil

from chromepool.config import Settings
from chromepool.errors import StartFailed
from chromepool.model import Host, Limits
from chromepool.supervisor import chrome
from chromepool.supervisor.cgroup import Tree
from chromepool.supervisor.child import Child
from chromepool.supervisor.limits import rlimits
from chromepool.supervisor.namespaces import PrivateMounts
from chromepool.supervisor.spawn import Plan, spawn
from chromepool.supervisor.uids import Uids

_MOST_CORES = 4096
_PIPE_BYTES = 1 << 20
"""fs.pipe-max-size: large answers cross in fewer steps."""


def check_limits(limits: Limits, settings: Settings) -> None:
    """Refuses limits beyond the operator's, whoever asks; raises :class:`StartFailed`."""
    allowed = settings.session_limits
    for name in ("memory_bytes", "heap_bytes", "pids", "files", "file_bytes", "cpu_cores"):
        value, most = getattr(limits, name), getattr(allowed, name)
        uncapped = name == "cpu_cores" and most == 0
        if uncapped:
            most = _MOST_CORES
        if value > most or value < 0 or (value == 0 and not uncapped):
            raise StartFailed(f"{name} = {value} is not above 0 and up to {most}.")


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    with contextlib.suppress(OSError):  # EPERM past the user's share of pipe memory: slower, fine
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read, write


def _three_pipes() -> list[tuple[int, int]]:
    pipes: list[tuple[int, int]] = []
    try:
        for make in (_pipe, _pipe, os.pipe):
            pipes.append(make())
    except OSError as error:  # EMFILE: one of so many sessions that there is no descriptor left
        for fd in itertools.chain(*pipes):
            os.close(fd)
        raise StartFailed(f"No pipes could be made for the session: {error}.") from error
    return pipes


class Nursery:
    """Makes children."""

    def __init__(self, settings: Settings, host: Host, tree: Tree) -> None:
        self._settings, self._host, self._tree = settings, host, tree
        self._uids = Uids(settings.uid_base, settings.uid_count) if host.privileged else None
        self._numbers = itertools.count(1)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._shm = settings.session_memory_bytes if host.private_mounts else chrome.shm_size()

    def prepare(self, key: int, limits: Limits) -> Child:
        """A child with its group, uid and profile, not started yet.

        Raises :class:`StartFailed`, leaving nothing behind.
        """
        check_limits(limits, self._settings)
        name = f"s{next(self._numbers)}"
        uid = self._uids.take() if self._uids else None
        profile = self._settings.profiles_dir / name
        leaf = None
        try:
            leaf = self._tree.create(name, limits, uid)
            profile.mkdir(mode=0o700)
            if uid is not None:
                os.chown(profile, uid, uid)
        except OSError as error:
            self.free(uid)
            shutil.rmtree(profile, ignore_errors=True)
            if leaf is not None:
                leaf.remove()
            raise StartFailed(f"No room could be made for the session: {error}.") from error
        return Child(key, name, limits, leaf, profile, uid, stderr=-1)

    def launch(self, child: Child, *, protocol_port: bool) -> tuple[int, int]:
        """Starts a prepared child's Chrome; the gateway's pipe ends (commands in, events out).

        Raises :class:`StartFailed`; the child is then to be abandoned.
        """
        into, out, stderr = _three_pipes()
        child.stderr = stderr[0]
        os.set_blocking(stderr[0], False)
        try:
            plan = self._plan(child, protocol_port, {3: into[0], 4: out[1], 2: stderr[1]})
            child.pid = spawn(plan, child.leaf.add)
        except StartFailed:
            os.close(into[1])
            os.close(out[0])
            raise
        finally:
            for fd in (into[0], out[1], stderr[1]):
                os.close(fd)
        return into[1], out[0]

    def _plan(self, child: Child, protocol_port: bool, fds: dict[int, int]) -> Plan:
        mounts = None
        if self._host.private_mounts and child.uid is not None:
            mounts = PrivateMounts(child.uid, child.limits.memory_bytes, child.profile)
        argv = chrome.command_line(
            self._host.chrome,
            child.profile,
            child.limits,
            sandbox=self._host.sandbox,
            shm_bytes=self._shm,
            protocol_port=protocol_port,
        )
        return Plan(
            argv=argv,
            env=chrome.environment(child.profile, os.environ),
            fds={0: self._null, 1: fds[2], **fds},
            uid=child.uid,
            rlimits=rlimits(child.limits, own_uid=child.uid is not None),
            mounts=mounts,
        )

    def free(self, uid: int | None) -> None:
        """The uid's last process is gone."""
        if self._uids is not None and uid is not None:
            self._uids.free(uid)
