"""What outlives the supervisor: systemd's file descriptor store (sd_notify(3)) holds for each
session what keeps its Chrome alive, and the next life takes it from there.

A session is left there once it is somebody's, under names that begin with its own:

=========== =====================================================================
commands    the pipe's end that commands go into
events      the one that events come out of; while both are open Chrome lives
stderr      Chrome's last words
process     a pidfd: whoever comes next is not its parent, and pids are used again
ledger      what the supervisor knows of it (:class:`Ledger`)
recordN     what the gateways know of it, the N-th version
=========== =====================================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import MutableMapping, Sequence
from typing import Any

from chromepool.logs import Log
from chromepool.model import Limits
from chromepool.supervisor.child import Child
from chromepool.supervisor.notify import Notifier

log = Log("chromepool.supervisor")

_WHOLE = frozenset({"commands", "events", "stderr", "process", "ledger"})
_RECORD = "record"


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
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
    def of(cls, child: Child) -> Ledger:
        """A child's."""
        profile = str(child.profile)
        return cls(child.key, child.name, child.pid, child.uid, child.kept, profile, child.limits)

    @classmethod
    def read(cls, fd: int) -> Ledger:
        """One that was left. Raises ValueError, TypeError, KeyError, OSError."""
        body: dict[str, Any] = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
        return cls(**body | {"limits": Limits(**body["limits"])})

    def write(self) -> int:
        """A file in memory with it, the caller's to close. Raises OSError."""
        fd = os.memfd_create("chromepool-ledger", os.MFD_CLOEXEC)
        os.write(fd, json.dumps(dataclasses.asdict(self)).encode())
        return fd


@dataclasses.dataclass(slots=True)
class Estate:
    """What an earlier life left of one session; the descriptors are the finder's."""

    ledger: Ledger
    commands: int
    events: int
    stderr: int
    process: int
    record: int
    version: int
    """Of the record."""


class Vault:
    """Leaves sessions with systemd. One that is not ``open`` does nothing."""

    def __init__(self, notifier: Notifier, *, is_open: bool) -> None:
        self._notifier = notifier
        self.is_open = is_open
        self._versions: dict[str, int] = {}
        """Of the records that were left, by session."""

    def keep(self, child: Child) -> None:
        """A session that is somebody's, as it is now. May be called again when its record or its
        limits have changed."""
        if not self.is_open or not child.known or child.pipe is None:
            return
        version = self._versions.get(child.name)
        if version is None:
            self._leave(child, "commands", child.pipe[0])
            self._leave(child, "events", child.pipe[1])
            self._leave(child, "process", child.process)
            if child.stderr >= 0:
                self._leave(child, "stderr", child.stderr)
            self.keep_ledger(child)
        # The new one is there before the old one goes: a life may end at any point.
        version, before = (version or 0) + 1, version
        self._leave(child, f"{_RECORD}{version}", child.record)
        self._versions[child.name] = version
        if before is not None:
            self._notifier.remove(f"{child.name}.{_RECORD}{before}")

    def keep_ledger(self, child: Child) -> None:
        """What the supervisor knows of it, as it is now."""
        if not self.is_open:
            return
        try:
            fd = Ledger.of(child).write()
        except OSError as error:
            log.error("session.not_kept", session=child.key, error=error)
            return
        self._notifier.remove(f"{child.name}.ledger")
        self._leave(child, "ledger", fd)
        os.close(fd)

    def _leave(self, child: Child, part: str, fd: int) -> None:
        self._notifier.store(f"{child.name}.{part}", [fd], poll=False)

    def forget(self, child: Child) -> None:
        """Nothing of it is left."""
        version = self._versions.pop(child.name, None)
        if version is not None:
            for part in (*_WHOLE, f"{_RECORD}{version}"):
                self._notifier.remove(f"{child.name}.{part}")

    def adopt(self, estate: Estate) -> None:
        """One that an earlier life left goes on."""
        self._versions[estate.ledger.name] = estate.version

    def drop(self, estate: Estate) -> None:
        """One that an earlier life left cannot go on."""
        for fd in (estate.commands, estate.events, estate.stderr, estate.process, estate.record):
            os.close(fd)
        name = estate.ledger.name
        self.clear([f"{name}.{part}" for part in (*_WHOLE, f"{_RECORD}{estate.version}")])

    def clear(self, names: Sequence[str]) -> None:
        """What cannot be used is not to be given to the next life as well."""
        for name in names:
            self._notifier.remove(name)


def find(passed: MutableMapping[str, list[int]], *, wanted: bool) -> tuple[list[Estate], list[str]]:
    """The sessions among what systemd passed, taken out there, and the names of what makes none.
    What makes none, or is not ``wanted``, is closed; a Chrome ends by that."""
    sessions: dict[str, dict[str, int]] = {}
    for name in list(passed):
        session, dot, part = name.rpartition(".")
        if dot and (part in _WHOLE or part.startswith(_RECORD)):
            fds = passed.pop(name)
            sessions.setdefault(session, {})[part] = fds[-1]
            for fd in fds[:-1]:  # stored twice: the newest counts
                os.close(fd)
    estates: list[Estate] = []
    useless: list[str] = []
    for session, parts in sessions.items():
        estate = _open(parts) if wanted else None
        if estate is not None:
            estates.append(estate)
        else:
            useless += [f"{session}.{part}" for part in parts]
            for fd in parts.values():
                with contextlib.suppress(OSError):
                    os.close(fd)
    return estates, useless


def _open(parts: dict[str, int]) -> Estate | None:
    versions = [int(n) for p in parts if (n := p.removeprefix(_RECORD)) != p and n.isdecimal()]
    if not versions or not parts.keys() >= _WHOLE:
        return None
    try:
        ledger = Ledger.read(parts["ledger"])
    except (ValueError, TypeError, KeyError, OSError) as error:
        log.error("session.not_found_again", error=error)
        return None
    newest = max(versions)
    for version in versions:
        if version != newest:
            os.close(parts[f"{_RECORD}{version}"])
    whole = {name: parts[name] for name in ("commands", "events", "stderr", "process")}
    return Estate(ledger, **whole, record=parts[f"{_RECORD}{newest}"], version=newest)
