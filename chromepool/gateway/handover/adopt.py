"""Adopting the sessions of the gateway before, which may have died in the middle of anything."""

import asyncio
import os

import msgspec

from chromepool import wire
from chromepool.errors import BrowserGone, ChromepoolError, InvalidRequest, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.handover import snapshot as snapshots
from chromepool.gateway.handover.snapshot import SessionSnapshot
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions import connection
from chromepool.gateway.sessions.events import SessionChanged
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.supervisor import SessionOffered
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_TAB_S = 2.0
"""Seconds that the tabs of a session have to take its options."""


class Adopter:
    """Makes sessions of what the supervisor has kept, and readies their Chromes for clients."""

    def __init__(self, pool: Pool) -> None:
        self._runtime = pool.runtime
        self._pool = pool
        self._work: list[asyncio.Task[None]] = []
        self.ids: list[str] = []
        """Ids of the sessions that were adopted."""

    def on_offered(self, offered: SessionOffered) -> None:
        """Adopt a session in the background; take its descriptors."""
        try:
            snapshot = snapshots.read(offered.snapshot)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("session.not_adopted", session=offered.key, error=error)
            offered.close()
            term_s = self._runtime.settings.term_timeout_s
            self._runtime.supervisor.send(wire.Stop(offered.key, term_s))
            return
        finally:
            os.close(offered.snapshot)
        session = self._enter(offered, snapshot)
        self.ids.append(session.id)
        browser = self._pool.connector.connect(session, offered, snapshot.traffic)
        self._work.append(asyncio.create_task(self._resume(session, browser, snapshot)))

    def _enter(self, offered: SessionOffered, snapshot: SessionSnapshot) -> Session:
        kept = ("id", "guid", "created_at", "oom_kills_seen", "warm")
        session = Session(
            offered.key,
            snapshot.spec,
            self._runtime.clock,
            self._pool.registry.on_move,
            pid=offered.pid,
            profile=offered.profile,
            **{name: getattr(snapshot, name) for name in kept},
        )
        self._pool.registry.enter(session)
        session.resume(snapshot.began, snapshot.last_active, snapshot.left)
        return session

    async def settle(self, timeout_s: float) -> None:
        """Wait until all can be driven, or for ``timeout_s``: one that hangs delays nobody."""
        if self._work:
            await asyncio.wait(self._work, timeout=timeout_s)

    async def _resume(self, session: Session, browser: Browser, snapshot: SessionSnapshot) -> None:
        if snapshot.reason is not None:  # the session was ending already
            await self._pool.termination.end(session, snapshot.reason, snapshot.detail)
            return
        try:
            await self._take_over(session, browser, snapshot)
        except BrowserGone:
            await session.is_gone.wait()  # ``Exited`` gives the reason
        except ChromepoolError as error:
            reason = Reason.UNHEALTHY if isinstance(error, NoAnswer) else Reason.CRASHED
            why = f"it did not take to the new gateway: {error.detail}"
            await self._pool.termination.end(session, reason, why)

    async def _take_over(self, session: Session, browser: Browser, old: SessionSnapshot) -> None:
        if old.frozen:
            self._runtime.supervisor.send(wire.Thaw(session.key, session.limits))
        await browser.take_over(old.base)
        await connection.initialize(browser, self._runtime.settings)
        # The next gateway must know the new base before anything is attached below it.
        self._runtime.bus.publish(SessionChanged(session))
        auto_attacher = session.auto_attacher()
        auto_attacher.patience_s = _TAB_S  # a tab that hangs is no reason to end a session
        try:
            await connection.apply_options(session, browser, session.spec)
        except InvalidRequest as error:  # the option was accepted once: the session is worth more
            log.error("session.options_refused", session=session.key, error=error)
        finally:
            auto_attacher.patience_s = None
        if session.state is State.RESUMING:
            session.move(State.READY)
            if session.owner == POOL:
                self._pool.warm_pool.add(session)
