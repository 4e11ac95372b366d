"""The snapshot of a session that the next gateway needs, kept by the supervisor in memory, so that
a full disk costs nobody a session. A snapshot is whole or not there at all: each version is a file
of its own, sealed before anybody else sees it."""

import asyncio
import dataclasses
import datetime
import fcntl
import os
from typing import Any

import msgspec

from chromepool import wire
from chromepool.gateway.browser.browser import Traffic
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.events import SessionEvent, SessionGone
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

EVERY_S = 2.0
"""Seconds between snapshots of sessions in use: an idle timeout may be too long by as much."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


# The names in the encoded form are those of 0.1: a new gateway reads what an older one wrote.
class SessionSnapshot(msgspec.Struct, omit_defaults=True, rename={"spec": "order"}):
    """The state of one session. Fields are only ever added, with defaults."""

    id: str
    guid: str
    spec: SessionSpec
    created_at: datetime.datetime
    began: float
    """Seconds of CLOCK_MONOTONIC, which is the same in every process, like the next two."""
    last_active: float
    left: float | None = None
    frozen: bool = False
    warm: bool = False
    base: str = ""
    """The CDP session that all others are below."""
    reason: Reason | None = None
    """Reason of its end; None: the session was not ending."""
    detail: str = ""
    oom_kills_seen: int = 0
    traffic: Traffic = msgspec.field(default_factory=Traffic)


def snapshot_of(session: Session) -> SessionSnapshot:
    """The session as it is now."""
    spec = session.spec
    browser = session.browser
    if session.artifacts is not None and session.state is not State.RESUMING:  # none yet
        scripts = tuple(session.artifacts.scripts.all())
        options = dataclasses.replace(spec.capture_options, scripts=scripts)
        spec = msgspec.structs.replace(spec, capture_options=options)
    own: dict[str, Any] = {
        "spec": spec,
        "frozen": session.state is State.FROZEN,
        "base": browser.base if browser else "",
        "traffic": browser.traffic if browser else session.traffic,
    }
    names = set(SessionSnapshot.__struct_fields__) - own.keys()
    return SessionSnapshot(**own, **{name: getattr(session, name) for name in names})


def write(snapshot: SessionSnapshot) -> int:
    """A sealed file in memory, the caller's to close. Raises OSError."""
    fd = os.memfd_create("chromepool-session", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(snapshot))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> SessionSnapshot:
    """The snapshot in such a file; raises OSError, msgspec.DecodeError, UnicodeDecodeError."""
    return msgspec.json.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=SessionSnapshot)


class SnapshotWriter:
    """Leaves a snapshot of each session with the supervisor whenever something of it changes."""

    def __init__(self, pool: Pool) -> None:
        self._supervisor = pool.runtime.supervisor
        self._registry = pool.registry
        self._active: dict[int, float] = {}
        """Times when each session was last active, as its snapshot has it."""
        self._gone: list[int] = []
        self._buried: list[int] = []

    def on_change(self, event: SessionEvent) -> None:
        """Replace the snapshot of the event's session."""
        self.write(event.session)

    def on_gone(self, event: SessionGone) -> None:
        """Forget a session of which nothing is left. The supervisor keeps the snapshot for a while:
        an end reported just before the gateway died may not be in the history yet."""
        self._active.pop(event.session.key, None)
        self._gone.append(event.session.key)

    def write(self, session: Session) -> None:
        """Replace a session's snapshot; where that fails, the one before stays."""
        if session.state is State.STARTING:  # without an owner yet
            return
        try:
            fd = write(snapshot_of(session))
        except OSError as error:
            log.error("snapshot.failed", session=session.key, error=error)
            return
        self._active[session.key] = session.last_active
        self._supervisor.send(wire.Remember(session.key), (fd,))

    def bury(self) -> None:
        """Have the supervisor forget the sessions that were gone at the last call: the history has
        them by now."""
        for key in self._buried:
            self._supervisor.send(wire.Buried(key))
        self._buried = self._gone
        self._gone = []

    def _write_active(self) -> None:
        """Replace the snapshots of sessions that were driven since."""
        for session in self._registry.chromes:
            known = self._active.get(session.key)
            if session.state is State.READY and known != session.last_active:
                self.write(session)

    async def run(self) -> None:
        """Write and bury every two seconds, until the gateway ends."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                self._write_active()
                self.bury()
            except Exception:  # or no deadline would be right any more after the next handover
                log.exception("snapshots.failed")
