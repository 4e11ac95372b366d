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
from chromepool.gateway.spec import Order
from chromepool.gateway.supervisor import Link
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_EVERY_S = 2.0
"""How often it is written down who was active: so much of an idle timeout may be counted twice."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Record(msgspec.Struct, omit_defaults=True):
    """One session. Only added to, with defaults: a newer gateway reads what an older one wrote."""

    id: str
    guid: str
    order: Order
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


def record_of(session: Session) -> Record:
    """A session as it is now."""
    order, browser = session.order, session.browser
    if session.keeping is not None and session.state is not State.RESUMING:  # it has none yet
        wishes = dataclasses.replace(order.wishes, scripts=tuple(session.keeping.scripts()))
        order = dataclasses.replace(order, wishes=wishes)
    return Record(
        id=session.id,
        guid=session.guid,
        order=order,
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


def write(record: Record) -> int:
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


def read(fd: int) -> Record:
    """What is in such a file. Raises OSError, :class:`msgspec.DecodeError`,
    UnicodeDecodeError."""
    return msgspec.json.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=Record)


class Recorder:
    """Has the supervisor remember each session as it is."""

    def __init__(self, link: Callable[[], Link]) -> None:
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
            fd = write(record_of(session))
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
