"""Taking over the sessions of the gateway before, which may have died in the middle of anything."""

from __future__ import annotations

import asyncio
import os

import msgspec

from chromepool import wire
from chromepool.errors import BrowserGone, ChromepoolError, InvalidRequest, NoAnswer
from chromepool.gateway.handover import snapshot as records
from chromepool.gateway.handover.snapshot import SessionSnapshot
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions import handshake
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_TAB_S = 2.0
"""How long its tabs are waited for."""
_FILE = 2
"""Which of an :class:`wire.Adopt`'s descriptors is the record."""


class Adopter:
    """Makes sessions of what the supervisor has kept, and gets their Chromes ready for clients."""

    def __init__(self, manager: Manager, creator: Creator) -> None:
        self._manager, self._creator = manager, creator
        manager.on_adopt = self._adopt
        self._work: list[asyncio.Task[None]] = []
        self.ids: list[str] = []
        """Of the sessions that were adopted."""

    def _adopt(self, message: wire.Adopt, fds: list[int]) -> None:
        try:
            record = records.read(fds[_FILE])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("session.not_adopted", session=message.key, error=error)
            os.close(fds[0])
            os.close(fds[1])
            self._manager.link.stop(message.key, self._manager.settings.term_timeout_s)
            return
        finally:
            os.close(fds[_FILE])
        session = self._enter(message, record)
        self.ids.append(session.id)
        browser = self._manager.watch(session, fds[0], fds[1], adopted=True)
        browser.before = record.traffic
        self._work.append(asyncio.create_task(self._resume(session, record)))

    def _enter(self, message: wire.Adopt, record: SessionSnapshot) -> Session:
        session = Session(
            message.key,
            record.spec,
            self._manager.clock,
            id=record.id,
            guid=record.guid,
            created_at=record.created_at,
            pid=message.pid,
            profile=message.profile,
            oom_kills_seen=record.oom_kills_seen,
            warm=record.warm,
        )
        session.resume(record.began, record.last_active, record.left)
        return self._manager.enter(session)

    async def settle(self, timeout_s: float) -> None:
        """Waits until all can be driven, or for so long: one that hangs keeps nobody waiting."""
        if self._work:
            await asyncio.wait(self._work, timeout=timeout_s)

    async def _resume(self, session: Session, record: SessionSnapshot) -> None:
        manager = self._manager
        if record.reason is not None:  # it was on its way out
            await manager.end(session, record.reason, record.detail)
            return
        try:
            await self._take_over(session, record)
        except BrowserGone:
            await session.is_gone.wait()  # Exited tells of what
        except ChromepoolError as error:
            kind = Reason.UNHEALTHY if isinstance(error, NoAnswer) else Reason.CRASHED
            why = f"it did not take to the new gateway: {error.detail}"
            await manager.end(session, kind, why)

    async def _take_over(self, session: Session, record: SessionSnapshot) -> None:
        browser = session.browser
        assert browser is not None
        if record.frozen:
            self._manager.link.thaw(session.key, session.limits)
        await browser.take_over(record.base)
        await handshake.greet(browser, self._manager.settings)
        self._manager.recorder.note(session)  # of the new base, before anything hangs below it
        auto_attacher = session.auto_attacher()
        auto_attacher.patience_s = _TAB_S  # a tab that hangs is no reason to end a session
        try:
            await handshake.dress(session, browser, session.spec)
        except InvalidRequest as error:  # it was taken once: the session is worth more
            log.error("session.not_dressed", session=session.key, error=error)
        finally:
            auto_attacher.patience_s = None
        if session.state is State.RESUMING:
            session.move(State.READY)
            if session.owner == POOL:
                self._creator.warm.adopt(session)
