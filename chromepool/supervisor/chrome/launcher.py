"""Starting Chromes: a group, a uid, a profile and pipes for each, all of it or nothing."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from pathlib import Path

from chromepool import chrome_options as launches
from chromepool.config import Settings
from chromepool.errors import StartFailed
from chromepool.model import ChromeOptions, Host, Limits
from chromepool.supervisor.chrome import command_line as chrome
from chromepool.supervisor.chrome.process import ChromeProcess
from chromepool.supervisor.chrome.profiles import Profiles
from chromepool.supervisor.linux.cgroup.tree import Tree
from chromepool.supervisor.linux.namespaces import PrivateMounts
from chromepool.supervisor.linux.rlimits import rlimits
from chromepool.supervisor.linux.spawn import Plan, spawn
from chromepool.supervisor.linux.uids import Uids
from chromepool.supervisor.systemd.fd_store import StoredSession

_PIPE_BYTES = 1 << 20
"""fs.pipe-max-size: large answers cross in fewer steps."""


def check_limits(limits: Limits, settings: Settings) -> None:
    """Refuses limits beyond the operator's, whoever asks; raises :class:`StartFailed`."""
    name = limits.beyond(settings.session_limits)
    if name:
        value, most = getattr(limits, name), getattr(settings.session_limits, name)
        raise StartFailed(f"{name} = {value} is not above 0 and up to session_{name} = {most}.")


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


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        raise StartFailed(f"No descriptors are left for the session: {error}.") from error


def _duplicates(pipe: tuple[int, int]) -> tuple[int, int]:
    first = -1
    try:
        first = os.dup(pipe[0])
        return first, os.dup(pipe[1])
    except OSError as error:
        if first >= 0:
            os.close(first)
        raise StartFailed(f"No descriptors are left for the session: {error}.") from error


class ChromeLauncher:
    """Makes children."""

    def __init__(
        self, settings: Settings, host: Host, tree: Tree, *, outliving: bool = False
    ) -> None:
        """``outliving``: what it makes may outlive the supervisor."""
        self.settings, self._host, self._tree = settings, host, tree
        self._outliving = outliving
        uids = Uids(settings.uid_base, settings.uid_count) if host.privileged else None
        self._profiles = Profiles(settings, uids)
        self._numbers = itertools.count(1)
        self._names: set[str] = set()
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        memory_bytes = settings.session_limits.memory_bytes
        self._shm = memory_bytes if host.private_mounts else chrome.shm_size()

    def prepare(self, key: int, limits: Limits, launch: ChromeOptions) -> ChromeProcess:
        """A child with its group, uid and profile, not started yet.

        Raises :class:`InvalidRequest`, :class:`ProfileInUse` or :class:`StartFailed`, leaving
        nothing behind.
        """
        check_limits(limits, self.settings)
        launches.check(launch, self.settings.allowed_flags)
        name = self._new_name()
        try:
            profile, uid = self._open_profile(name, launch)
        except OSError as error:
            raise StartFailed(f"No profile could be made for the session: {error}.") from error
        try:
            leaf = self._tree.create(name, limits, uid)
        except OSError as error:
            self._close_profile(launch.profile, uid)
            if not launch.profile:
                shutil.rmtree(profile, ignore_errors=True)
            raise StartFailed(f"No room could be made for the session: {error}.") from error
        return ChromeProcess(key, name, limits, leaf, profile, uid, stderr=-1, kept=launch.profile)

    def _new_name(self) -> str:
        """One that none of an earlier life has that goes on."""
        return next(name for n in self._numbers if (name := f"s{n}") not in self._names)

    def _open_profile(self, name: str, launch: ChromeOptions) -> tuple[Path, int | None]:
        if launch.profile:
            return self._profiles.keep(launch.profile, self.settings.kept_profiles)
        return self._profiles.make(name)

    def _close_profile(self, kept: str, uid: int | None) -> None:
        if kept:
            self._profiles.unlock(kept)
        else:
            self._profiles.free_uid(uid)

    def launch(
        self, child: ChromeProcess, launch: ChromeOptions, *, protocol_port: bool
    ) -> tuple[int, int]:
        """Starts a prepared child's Chrome; the gateway's pipe ends (commands in, events out), of
        which the child keeps duplicates.

        Raises :class:`StartFailed`; the child is then to be abandoned.
        """
        into, out, stderr = _three_pipes()
        child.stderr, child.pipe = stderr[0], (into[1], out[0])
        os.set_blocking(stderr[0], False)
        try:
            plan = self._plan(child, launch, protocol_port, {3: into[0], 4: out[1], 2: stderr[1]})
            child.pid = spawn(plan, child.leaf.add)
            if self._outliving:
                child.process = _pidfd(child.pid)
        finally:
            for fd in (into[0], out[1], stderr[1]):
                os.close(fd)
        return _duplicates(child.pipe)

    def _plan(
        self, child: ChromeProcess, launch: ChromeOptions, protocol_port: bool, fds: dict[int, int]
    ) -> Plan:
        mounts = None
        if self._host.private_mounts and child.uid is not None:
            mounts = PrivateMounts(child.uid, child.limits.memory_bytes, child.profile)
        argv = chrome.command_line(
            self._host.chrome,
            child.profile,
            child.limits,
            launch,
            sandbox=self._host.sandbox,
            shm_bytes=self._shm,
            protocol_port=protocol_port,
        )
        return Plan(
            argv=argv,
            env=chrome.environment(child.profile, child.name, os.environ),
            fds={0: self._null, 1: fds[2], **fds},
            uid=child.uid,
            rlimits=rlimits(child.limits, own_uid=child.uid is not None),
            mounts=mounts,
            dies_with_us=not self._outliving,
        )

    def take_back(self, stored: StoredSession) -> ChromeProcess:
        """A session that an earlier life left, whose descriptors are the child's from here on.
        Raises OSError where its control group is gone."""
        found = stored.meta
        leaf = self._tree.adopt(found.name, found.limits)
        self._profiles.take_back(found.kept, found.uid)
        os.set_blocking(stored.stderr, False)
        child = ChromeProcess(
            found.key,
            found.name,
            found.limits,
            leaf,
            Path(found.profile),
            found.uid,
            stored.stderr,
            kept=found.kept,
            pipe=(stored.commands, stored.events),
            record=stored.record,
            pid=found.pid,
            process=stored.process,
        )
        self._names.add(found.name)
        return child

    def free(self, child: ChromeProcess) -> None:
        """Nothing of the child lives any more: its uid or its kept profile may be used again."""
        self._close_profile(child.kept, child.uid)
