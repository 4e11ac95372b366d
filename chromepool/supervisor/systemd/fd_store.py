"""What outlives the supervisor: systemd's file descriptor store (sd_notify(3)) holds for each
session what keeps its Chrome alive, and the next life takes it from there.

A session is left there once it is somebody's, under names that begin with its own:

=========== =====================================================================
commands    the pipe's end that commands go into
events      the one that events come out of; while both are open Chrome lives
stderr      Chrome's last words
process     a pidfd: whoever comes next is not its parent, and pids are used again
ledgerN     what the supervisor knows of it (:class:`SessionMeta`), the N-th version
recordN     what the gateways know of it, the N-th version
=========== =====================================================================
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

_FIXED = frozenset({"commands", "events", "stderr", "process"})
_VERSIONED = ("ledger", "record")
_RETRY_S = 0.5
_MOST_UNSAID = 4096
"""What waits for a manager that is behind. Past that the oldest is given up."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionMeta:
    """What the supervisor knows of a session."""

    key: int
    name: str
    pid: int
    uid: int | None
    kept: str
    """Name of its kept profile; empty: its profile goes with it."""
    profile: str
    limits: Limits

    @classmethod
    def of(cls, child: ChromeProcess) -> SessionMeta:
        """A child's."""
        profile = str(child.profile)
        return cls(child.key, child.name, child.pid, child.uid, child.kept, profile, child.limits)

    @classmethod
    def read(cls, fd: int) -> SessionMeta:
        """One that was left. Raises ValueError, TypeError, KeyError, OSError."""
        body: dict[str, Any] = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
        return cls(**body | {"limits": Limits(**body["limits"])})

    def write(self) -> int:
        """A file in memory with it, the caller's to close. Raises OSError."""
        fd = os.memfd_create("chromepool-ledger", os.MFD_CLOEXEC)
        os.write(fd, json.dumps(dataclasses.asdict(self)).encode())
        return fd


@dataclasses.dataclass(slots=True)
class StoredSession:
    """What an earlier life left of one session; the descriptors are the finder's."""

    meta: SessionMeta
    commands: int
    events: int
    stderr: int
    process: int
    record: int
    versions: dict[str, int]
    """Of the record, and of the ledger."""


class FdStore:
    """Leaves sessions with systemd. One that is not ``open`` does nothing."""

    def __init__(self, notifier: Notifier, *, is_open: bool) -> None:
        self._notifier = notifier
        self.is_open = is_open
        self._versions: dict[str, dict[str, int]] = {}
        """Of what was left in versions, by session."""
        self._unsaid: collections.deque[tuple[str, int]] = collections.deque()
        """What the manager was too far behind for: a name, and what to leave under it; -1: it is to
        be removed."""
        self._retry_at = math.inf

    @property
    def due(self) -> float:
        """When :meth:`tick` wants to be called (monotonic)."""
        return self._retry_at

    def keep(self, child: ChromeProcess) -> None:
        """A session that is somebody's, as it is now. May be called again when its record has
        changed."""
        if not self.is_open or not child.known or child.pipe is None:
            return
        if child.name not in self._versions:
            self._leave(child, "commands", child.pipe[0])
            self._leave(child, "events", child.pipe[1])
            self._leave(child, "process", child.process)
            if child.stderr >= 0:
                self._leave(child, "stderr", child.stderr)
            self.keep_ledger(child)
        self._leave_next(child, "record", child.record)

    def keep_ledger(self, child: ChromeProcess) -> None:
        """What the supervisor knows of it, as it is now."""
        if not self.is_open:
            return
        try:
            fd = SessionMeta.of(child).write()
        except OSError as error:
            log.error("session.not_kept", session=child.key, error=error)
            return
        self._leave_next(child, "ledger", fd)
        os.close(fd)

    def _leave_next(self, child: ChromeProcess, part: str, fd: int) -> None:
        """The new version is there before the old one goes: a life may end at any point."""
        versions = self._versions.setdefault(child.name, {})
        before = versions.get(part, 0)
        versions[part] = before + 1
        self._leave(child, f"{part}{before + 1}", fd)
        if before:
            self._say(f"{child.name}.{part}{before}")

    def _leave(self, child: ChromeProcess, part: str, fd: int) -> None:
        self._say(f"{child.name}.{part}", fd)

    def forget(self, child: ChromeProcess) -> None:
        """Nothing of it is left."""
        versions = self._versions.pop(child.name, None)
        if versions is not None:
            self.clear([f"{child.name}.{part}" for part in _parts(versions)])

    def adopt(self, stored: StoredSession) -> None:
        """One that an earlier life left goes on."""
        self._versions[stored.meta.name] = dict(stored.versions)

    def drop(self, stored: StoredSession) -> None:
        """One that an earlier life left cannot go on."""
        for fd in (stored.commands, stored.events, stored.stderr, stored.process, stored.record):
            os.close(fd)
        self.clear([f"{stored.meta.name}.{part}" for part in _parts(stored.versions)])

    def clear(self, names: Sequence[str]) -> None:
        """What cannot be used is not to be given to the next life as well."""
        for name in names:
            self._say(name)

    # -- words to the manager, none of which may be lost --

    def _say(self, name: str, fd: int = -1) -> None:
        if not self._unsaid and self._said(name, fd):
            return
        try:
            self._unsaid.append((name, fd if fd < 0 else os.dup(fd)))
        except OSError as error:
            log.error("session.not_kept", part=name, error=error)
        if len(self._unsaid) > _MOST_UNSAID:
            name, fd = self._unsaid.popleft()
            log.error("session.not_kept", part=name, error="the manager does not listen")
            self._close(fd)
        if self._retry_at == math.inf:
            self._retry_at = time.monotonic() + _RETRY_S

    def tick(self, now: float) -> None:
        """Says what is to be said again, in the order in which it was to be said."""
        if now < self._retry_at:
            return
        while self._unsaid and self._said(*self._unsaid[0]):
            self._close(self._unsaid.popleft()[1])
        self._retry_at = now + _RETRY_S if self._unsaid else math.inf

    def _said(self, name: str, fd: int) -> bool:
        if not self._notifier.listened_to:  # outside systemd there is nothing to lose
            return True
        if fd < 0:
            return self._notifier.remove(name)
        return self._notifier.store(name, [fd], poll=False)

    @staticmethod
    def _close(fd: int) -> None:
        if fd >= 0:
            os.close(fd)


def _parts(versions: dict[str, int]) -> list[str]:
    return [*_FIXED, *(f"{part}{version}" for part, version in versions.items())]


def find(
    passed: MutableMapping[str, list[int]], *, wanted: bool
) -> tuple[list[StoredSession], list[str]]:
    """The sessions among what systemd passed, taken out there, and the names of what makes none.
    What makes none, or is not ``wanted``, is closed; a Chrome ends by that."""
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
        else:
            useless += [f"{session}.{part}" for part in parts]
            for fd in parts.values():
                with contextlib.suppress(OSError):
                    os.close(fd)
    return stored_sessions, useless


def _open(parts: dict[str, int]) -> StoredSession | None:
    """What is in them, with older versions closed; None where something is missing."""
    versions = {part: _newest(parts, part) for part in _VERSIONED}
    if not parts.keys() >= _FIXED or 0 in versions.values():
        return None
    try:
        meta = SessionMeta.read(parts[f"ledger{versions['ledger']}"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        log.error("session.not_found_again", error=error)
        return None
    record = parts[f"record{versions['record']}"]
    for part, fd in parts.items():
        if part not in _FIXED and fd != record:
            os.close(fd)
    return StoredSession(
        meta, **{part: parts[part] for part in _FIXED}, record=record, versions=versions
    )


def _newest(parts: dict[str, int], part: str) -> int:
    numbers = [name.removeprefix(part) for name in parts if name.startswith(part)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
