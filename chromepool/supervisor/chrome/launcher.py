"""The start of a Chrome: its group, uid, profile and pipes, all of them or none."""

import contextlib
import fcntl
import itertools
import os
import shutil
from pathlib import Path

from chromepool import chrome_options
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
"""Default of fs.pipe-max-size: an answer of a megabyte crosses in one step, not in sixteen."""


def check_limits(limits: Limits, settings: Settings) -> None:
    """Raise :class:`StartFailed` for limits beyond the operator's, which the gateway checks too."""
    name = limits.beyond(settings.session_limits)
    if name:
        value, most = getattr(limits, name), getattr(settings.session_limits, name)
        raise StartFailed(f"The limit {name} is {value}, and must be above 0 and at most {most}.")


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    # EPERM past the user's share of pipe memory (pipe(7)): the default size is only slower.
    with contextlib.suppress(OSError):
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read, write


def _three_pipes() -> list[tuple[int, int]]:
    pipes: list[tuple[int, int]] = []
    try:
        for make in (_pipe, _pipe, os.pipe):
            pipes.append(make())
    except OSError:
        for fd in itertools.chain(*pipes):
            os.close(fd)
        raise
    return pipes


class ChromeLauncher:
    """The maker of Chromes: prepares, starts and restores them, and releases what they had."""

    def __init__(
        self, settings: Settings, host: Host, tree: Tree, *, outlives_us: bool = False
    ) -> None:
        """``outlives_us``: whether its Chromes may outlive the supervisor."""
        self.settings = settings
        self.host = host
        self._tree = tree
        self._outlives_us = outlives_us
        uids = Uids(settings.uid_base, settings.uid_count) if host.privileged else None
        self._profiles = Profiles(settings, uids)
        self._numbers = itertools.count(1)
        self._restored_names: set[str] = set()
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        memory_bytes = settings.session_limits.memory_bytes
        self._shm = memory_bytes if host.private_mounts else chrome.shm_size()

    def prepare(self, key: int, limits: Limits, options: ChromeOptions) -> ChromeProcess:
        """Return a Chrome with its group, uid and profile that is not started yet.

        Raises InvalidRequest, ProfileInUse or StartFailed, and leaves nothing behind then.
        """
        check_limits(limits, self.settings)
        chrome_options.check(options, self.settings.allowed_flags)
        name = next(name for n in self._numbers if (name := f"s{n}") not in self._restored_names)
        kept = options.profile
        try:
            profile, uid = self._profiles.open(name, kept, self.settings.kept_profiles)
        except OSError as error:
            raise StartFailed(f"The session's profile could not be made: {error}.") from error
        try:
            leaf = self._tree.create(name, limits, uid)
        except OSError as error:
            self._profiles.release(kept, uid)
            if not kept:
                shutil.rmtree(profile, ignore_errors=True)
            raise StartFailed(f"The session's control group could not be made: {error}.") from error
        return ChromeProcess(key, name, limits, leaf, profile, uid, stderr=-1, kept_profile=kept)

    def launch(
        self, child: ChromeProcess, options: ChromeOptions, *, protocol_port: bool
    ) -> tuple[int, ...]:
        """Start a prepared Chrome, and return the gateway's pipe ends: commands in, events out.

        The child keeps duplicates. Raises :class:`StartFailed`; the caller then abandons the child.
        """
        try:
            self._spawn(child, options, protocol_port)
            if self._outlives_us:
                child.pidfd = os.pidfd_open(child.pid)
            with contextlib.ExitStack() as undo:
                fds = child.duplicate_fds(undo)
                undo.pop_all()
        except OSError as error:  # EMFILE: the other sessions take every descriptor
            raise StartFailed(
                f"The session's pipes could not be made: {error}.",
                remedy="Raise the daemon's limit of files (LimitNOFILE=), or lower max_sessions.",
            ) from error
        return fds

    def _spawn(self, child: ChromeProcess, options: ChromeOptions, protocol_port: bool) -> None:
        into, out, stderr = _three_pipes()
        child.stderr = stderr[0]
        child.pipe = (into[1], out[0])
        os.set_blocking(stderr[0], False)
        try:
            plan = self._plan(child, options, protocol_port, {3: into[0], 4: out[1], 2: stderr[1]})
            child.pid = spawn(plan, child.leaf.add)
        finally:
            for fd in (into[0], out[1], stderr[1]):
                os.close(fd)

    def _plan(
        self, child: ChromeProcess, options: ChromeOptions, protocol_port: bool, fds: dict[int, int]
    ) -> Plan:
        mounts = None
        if self.host.private_mounts and child.uid is not None:
            mounts = PrivateMounts(child.uid, child.limits.memory_bytes, child.profile)
        argv = chrome.command_line(
            self.host.chrome,
            child.profile,
            child.limits,
            options,
            sandbox=self.host.sandbox,
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
            dies_with_us=not self._outlives_us,
        )

    def restore(self, stored: StoredSession) -> ChromeProcess:
        """Return the Chrome of a session that an earlier daemon left; it owns the descriptors.

        Raises OSError where its control group is gone.
        """
        found = stored.meta
        leaf = self._tree.adopt(found.name, found.limits)
        self._profiles.restore(found.kept, found.uid)
        os.set_blocking(stored.stderr, False)
        self._restored_names.add(found.name)
        return ChromeProcess(
            found.key,
            found.name,
            found.limits,
            leaf,
            Path(found.profile),
            found.uid,
            stored.stderr,
            kept_profile=found.kept,
            pipe=(stored.commands, stored.events),
            snapshot_fd=stored.snapshot,
            pid=found.pid,
            pidfd=stored.pidfd,
        )

    def release(self, child: ChromeProcess) -> None:
        """Allow the uid or the kept profile of a Chrome that is gone to be used again."""
        self._profiles.release(child.kept_profile, child.uid)
