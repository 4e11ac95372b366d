"""The part of a session that outlives the supervisor, in systemd's file descriptor store.

systemd keeps copies of descriptors while the daemon is started again (sd_notify(3)). For each
session it has those that keep its Chrome alive, under names that begin with the session's:

=========== =====================================================================
commands    write end of Chrome's command pipe
events      read end of its event pipe; Chrome lives while both are open
stderr      read end of the pipe of its stderr
process     a pidfd: the next daemon is not its parent, and pids are used again
ledgerN     the supervisor's metadata (:class:`SessionMeta`), version N
recordN     the gateway's snapshot, version N
=========== =====================================================================

Names and content are read by other versions of the daemon, so neither may change.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

from chromepool.logs import Log
from chromepool.model import Limits
from chromepool.supervisor.chrome.process import ChromeProcess
from chromepool.supervisor.systemd.notify import Notifier

log = Log("chromepool.supervisor")

_FIXED = ("commands", "events", "process", "stderr")
_META = "ledger"
_SNAPSHOT = "record"
_VERSIONED = (_META, _SNAPSHOT)
_RETRY_S = 0.5
_MOST_UNSENT = 4096
"""Notifications that wait for a manager that lags. Past that the oldest is dropped."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionMeta:
    """The supervisor's knowledge of a session. The fields are keys of the stored JSON."""

    key: int
    name: str
    pid: int
    uid: int | None
    kept: str
    """Name of its kept profile; empty: its profile is removed with it."""
    profile: str
    limits: Limits

    @classmethod
    def of(cls, child: ChromeProcess) -> SessionMeta:
        """Return a Chrome's as it is now."""
        kept, profile = child.kept_profile, str(child.profile)
        return cls(child.key, child.name, child.pid, child.uid, kept, profile, child.limits)

    @classmethod
    def read(cls, fd: int) -> SessionMeta:
        """Return what is in a stored file. Raises ValueError, TypeError, KeyError, OSError."""
        body: dict[str, Any] = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
        return cls(**body | {"limits": Limits(**body["limits"])})

    def write(self) -> int:
        """Return a new file in memory, the caller's to close. Raises OSError."""
        fd = os.memfd_create("chromepool-ledger", os.MFD_CLOEXEC)
        os.write(fd, json.dumps(dataclasses.asdict(self)).encode())
        return fd


@dataclasses.dataclass(slots=True)
class StoredSession:
    """A session that an earlier daemon left. The owner of this owns its descriptors."""

    meta: SessionMeta
    commands: int
    events: int
    stderr: int
    pidfd: int
    snapshot: int
    versions: dict[str, int]
    """Versions of its metadata and its snapshot."""


class FdStore:
    """Puts sessions into systemd's store, updates and removes them; disabled, it does nothing.

    What systemd lags too far behind to take is sent again, in order: no notification may be lost.
    """

    def __init__(self, notifier: Notifier, *, enabled: bool) -> None:
        self._notifier = notifier
        self.enabled = enabled
        self._versions: dict[str, dict[str, int]] = {}
        """Session name → versions of its parts that are stored."""
        self._unsent: collections.deque[tuple[str, int]] = collections.deque()
        """Name and descriptor to store; -1: what has the name is to be removed."""
        self.due = math.inf
        """Time of the next :meth:`tick` (monotonic)."""

    def put(self, child: ChromeProcess) -> None:
        """Store a session that has a snapshot. Called again, store its new snapshot."""
        if not self.enabled or not child.has_snapshot or child.pipe is None:
            return
        if child.name not in self._versions:
            fds = (*child.pipe, child.pidfd, child.stderr)
            for part, fd in zip(_FIXED, fds, strict=True):
                if fd >= 0:
                    self._send(f"{child.name}.{part}", fd)
            self.put_meta(child)
        self._store_version(child, _SNAPSHOT, child.snapshot_fd)

    def put_meta(self, child: ChromeProcess) -> None:
        """Store a session's metadata as it is now."""
        if not self.enabled:
            return
        try:
            fd = SessionMeta.of(child).write()
        except OSError as error:
            log.error("session.store_failed", session=child.key, error=error)
            return
        self._store_version(child, _META, fd)
        os.close(fd)

    def _store_version(self, child: ChromeProcess, part: str, fd: int) -> None:
        """Store the new version before the old one is removed: we may be killed in between."""
        versions = self._versions.setdefault(child.name, {})
        before = versions.get(part, 0)
        versions[part] = before + 1
        self._send(f"{child.name}.{part}{before + 1}", fd)
        if before:
            self._send(f"{child.name}.{part}{before}")

    def remove(self, child: ChromeProcess) -> None:
        """Remove a session that is gone."""
        versions = self._versions.pop(child.name, None)
        if versions is not None:
            self._remove_parts(child.name, versions)

    def restore(self, stored: StoredSession) -> None:
        """Continue the versions of a session that an earlier daemon left."""
        self._versions[stored.meta.name] = dict(stored.versions)

    def drop(self, stored: StoredSession) -> None:
        """Close and remove a session that cannot continue."""
        for fd in (stored.commands, stored.events, stored.stderr, stored.pidfd, stored.snapshot):
            os.close(fd)
        self._remove_parts(stored.meta.name, stored.versions)

    def _remove_parts(self, name: str, versions: dict[str, int]) -> None:
        parts = [*_FIXED, *(f"{part}{version}" for part, version in versions.items())]
        self.remove_names([f"{name}.{part}" for part in parts])

    def remove_names(self, names: Sequence[str]) -> None:
        """Remove what cannot be used, so that the next daemon does not get it as well."""
        for name in names:
            self._send(name)

    def _send(self, name: str, fd: int = -1) -> None:
        if not self._unsent and self._try_send(name, fd):
            return
        try:
            self._unsent.append((name, fd if fd < 0 else os.dup(fd)))
        except OSError as error:
            log.error("session.store_failed", part=name, error=error)
        if len(self._unsent) > _MOST_UNSENT:
            name, fd = self._unsent.popleft()
            log.error("session.store_failed", part=name, error="systemd does not read")
            self._close(fd)
        self.due = min(self.due, time.monotonic() + _RETRY_S)

    def tick(self, now: float) -> None:
        """Send what could not be sent before, in order."""
        if now < self.due:
            return
        while self._unsent and self._try_send(*self._unsent[0]):
            self._close(self._unsent.popleft()[1])
        self.due = now + _RETRY_S if self._unsent else math.inf

    def _try_send(self, name: str, fd: int) -> bool:
        if not self._notifier.connected:  # outside systemd there is nothing to lose
            return True
        if fd < 0:
            return self._notifier.remove(name)
        return self._notifier.store(name, [fd], poll=False)

    @staticmethod
    def _close(fd: int) -> None:
        if fd >= 0:
            os.close(fd)


def find(
    passed: MutableMapping[str, list[int]], *, wanted: bool
) -> tuple[list[StoredSession], list[str]]:
    """Take the sessions out of what systemd passed; return them, and names that make no session.

    What makes none, or is not ``wanted``, is closed; a Chrome exits by that.
    """
    sessions: dict[str, dict[str, int]] = {}
    for name in list(passed):
        session, dot, part = name.rpartition(".")
        if dot and (part in _FIXED or part.startswith(_VERSIONED)):
            fds = passed.pop(name)
            sessions.setdefault(session, {})[part] = fds[-1]
            for fd in fds[:-1]:  # stored twice: the newest counts
                os.close(fd)
    stored_sessions: list[StoredSession] = []
    useless: list[str] = []
    for session, parts in sessions.items():
        stored = _open(parts) if wanted else None
        if stored is not None:
            stored_sessions.append(stored)
            continue
        useless += [f"{session}.{part}" for part in parts]
        for fd in parts.values():
            with contextlib.suppress(OSError):
                os.close(fd)
    return stored_sessions, useless


def _open(parts: dict[str, int]) -> StoredSession | None:
    """Return the session in these parts, older versions closed; None where a part is missing."""
    versions = {part: _newest(parts, part) for part in _VERSIONED}
    if not parts.keys() >= set(_FIXED) or 0 in versions.values():
        return None
    try:
        meta = SessionMeta.read(parts[f"{_META}{versions[_META]}"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        log.error("session.restore_failed", error=error)
        return None
    snapshot = parts[f"{_SNAPSHOT}{versions[_SNAPSHOT]}"]
    for part, fd in parts.items():
        if part not in _FIXED and fd != snapshot:
            os.close(fd)
    commands, events, pidfd, stderr = (parts[part] for part in _FIXED)
    return StoredSession(meta, commands, events, stderr, pidfd, snapshot, versions)


def _newest(parts: dict[str, int], part: str) -> int:
    numbers = [name.removeprefix(part) for name in parts if name.startswith(part)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
