"""What the next gateway has to know of a session, kept by the supervisor in a file in memory.

Not on disk, so that a full one costs nobody a session, and whole or not at all: each version is a
file of its own, sealed before anybody else sees it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import fcntl
import os
from collections.abc import Callable

import msgspec

from chromepool.gateway.browser.browser import Traffic
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_EVERY_S = 2.0
"""How often it is written down who was active: so much of an idle timeout may be counted twice."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class SessionSnapshot(msgspec.Struct, omit_defaults=True, rename={"spec": "order"}):
    """One session. Only added to, with defaults: a newer gateway reads what an older one wrote."""

    id: str
    guid: str
    spec: SessionSpec
    created_at: datetime.datetime
    began: float
    """Like the next two in seconds of CLOCK_MONOTONIC, the same in every process."""
    last_active: float
    left: float | None = None
    frozen: bool = False
    warm: bool = False
    base: str = ""
    """The CDP session that all others are below."""
    reason: Reason | None = None
    """Why it was ending, if it was."""
    detail: str = ""
    oom_kills_seen: int = 0
    traffic: Traffic = msgspec.field(default_factory=Traffic)


def snapshot_of(session: Session) -> SessionSnapshot:
    """A session as it is now."""
    spec, browser = session.spec, session.browser
    if session.artifacts is not None and session.state is not State.RESUMING:  # it has none yet
        capture_options = dataclasses.replace(
            spec.capture_options, scripts=tuple(session.artifacts.scripts())
        )
        spec = msgspec.structs.replace(spec, capture_options=capture_options)
    return SessionSnapshot(
        id=session.id,
        guid=session.guid,
        spec=spec,
        created_at=session.created_at,
        began=session.began,
        last_active=session.last_active,
        left=session.left,
        frozen=session.state is State.FROZEN,
        warm=session.warm,
        base=browser.base if browser else "",
        reason=session.reason,
        detail=session.detail,
        oom_kills_seen=session.oom_kills_seen,
        traffic=browser.traffic if browser else session.traffic,
    )


def write(record: SessionSnapshot) -> int:
    """A sealed file with it, the caller's to close. Raises OSError."""
    fd = os.memfd_create("chromepool-session", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(record))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> SessionSnapshot:
    """What is in such a file. Raises OSError, :class:`msgspec.DecodeError`,
    UnicodeDecodeError."""
    return msgspec.json.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=SessionSnapshot)


class SnapshotWriter:
    """Has the supervisor remember each session as it is."""

    def __init__(self, link: Callable[[], SupervisorClient]) -> None:
        self._link = link
        self._active: dict[int, float] = {}
        """When each was last active, as far as it is written down."""
        self._gone: list[int] = []
        self._buried: list[int] = []

    def note(self, session: Session) -> None:
        """Something of it has changed. Where that cannot be written it stays as it was. One that is
        only starting is nobody's, and not worth remembering."""
        if session.state is State.STARTING:
            return
        try:
            fd = write(snapshot_of(session))
        except OSError as error:
            log.error("session.not_recorded", session=session.key, error=error)
            return
        self._active[session.key] = session.last_active
        self._link().remember(session.key, fd)

    def forget(self, session: Session) -> None:
        """Nothing of it is left. The supervisor has it for a while still: what a gateway was told
        just before it died, nobody may have written down."""
        self._active.pop(session.key, None)
        self._gone.append(session.key)

    def bury(self) -> None:
        """Has the supervisor forget those that were gone at the last call: by now the journal has
        them."""
        for key in self._buried:
            self._link().buried(key)
        self._gone, self._buried = [], self._gone

    def note_active(self, sessions: list[Session]) -> None:
        """Writes down those that were driven since."""
        for session in sessions:
            known = self._active.get(session.key)
            if session.state is State.READY and known != session.last_active:
                self.note(session)

    async def run(self, sessions: Callable[[], list[Session]]) -> None:
        """Does so every two seconds, for as long as the gateway lives."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                self.note_active(sessions())
                self.bury()
            except Exception:  # or no deadline would be right any more after the next handover
                log.exception("record.failed")
