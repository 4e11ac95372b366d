"""Creating sessions: from an order to a Chrome of its own, or to a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import tenacity

from chromepool.config import Settings
from chromepool.errors import (
    BrowserGone,
    ChromepoolError,
    CircuitOpen,
    InvalidRequest,
    NoMemory,
    PoolFull,
    ProfileInUse,
    StartFailed,
)
from chromepool.gateway.capacity import memory
from chromepool.gateway.capacity.admission import Admission
from chromepool.gateway.capacity.autoscale import Autoscale
from chromepool.gateway.capacity.breaker import Breaker
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions import handshake
from chromepool.gateway.sessions.creation_stats import CreationStats
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.sessions.warm_pool import WarmPool
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.sessions")

_RETRY_S = 5.0
_POLL_S = 0.01
_LAST_WORDS = 1000
_BLANK_BYTES = 64 << 20
"""What a Chrome is charged once it is up, its page still blank (measured: 60 to 69 MB)."""


class Creator:
    """Decides who gets a Chrome, and gets it: a warm one that waits, or a new one."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.breaker = Breaker()
        self.stats = CreationStats()
        self.admission = Admission(
            lambda: self.settings, manager.clock, self.refusal, self.stats.waited.add
        )
        self.scaling = Autoscale()
        self.warm = WarmPool(manager, self.start, self.may_start_ahead, self.crowded)
        self.warm.wanted = self.reserve
        self.on_change: Callable[[], None] = lambda: None
        """Told when there may be a new deadline."""
        manager.on_end = self.warm.forget
        manager.on_gone = self._on_gone

    @property
    def settings(self) -> Settings:
        """Those of now: SIGHUP may have changed them."""
        return self._manager.settings

    @property
    def occupied(self) -> int:
        """Places taken, those of creations under way included."""
        return self._manager.occupied + self.admission.held

    @property
    def places(self) -> int:
        """Sessions that may be there at once: ``max_sessions``, or fewer where the load is high and
        ``dynamic_limits`` is on."""
        return self.scaling.admitted(self.settings)

    def reserve(self) -> int:
        """Chromes that are wanted ahead."""
        if self._manager.closed is not None:
            return 0
        return self.scaling.reserve(self.occupied, self.settings, self._manager.clock())

    def _on_gone(self) -> None:
        self.admission.pump()
        self.warm.refill()

    # -- admitting --

    def refusal(self, spec: SessionSpec) -> ChromepoolError | None:
        """Why there is no room for a session now; None where there is."""
        if self._manager.closed is None and self.occupied >= self.places:
            return self._full()
        return self._no_start(suited=self.warm.suits(spec), room=bool(self.warm.waiting))

    def _full(self) -> PoolFull:
        most, places = self.settings.max_sessions, self.places
        said = f"All {most} sessions are in use."
        if self.occupied < most:
            said = f"{places} of {most} sessions are admitted now, since {self.scaling.why}."
        remedy = "Delete one, wait for one (?wait=30), or try again later."
        return PoolFull(said, remedy=remedy, retry_after_s=_RETRY_S)

    def _no_start(
        self, *, suited: bool = False, room: bool = False, own: int = 0
    ) -> ChromepoolError | None:
        """Why no Chrome may be started now; ``suited``: none need be, since one waits; ``room``:
        one that waits would make room; ``own`` of the promised places are the caller's."""
        if self._manager.closed is not None:
            return self._manager.closed
        if suited:
            return None
        pause_s = self.breaker.pause_s(self._manager.clock())
        if pause_s:
            said = f"Chrome keeps failing to start: {self.breaker.words}"
            remedy = "Run `chromepool doctor` on the daemon's machine, as the daemon's user."
            return CircuitOpen(said, remedy=remedy, retry_after_s=pause_s)
        if room or self._has_memory(own):
            return None
        return NoMemory(
            "There is no memory for another Chrome.",
            remedy="End a session, or raise pool_memory_bytes if the machine has more.",
            retry_after_s=_RETRY_S,
        )

    def _has_memory(self, own: int = 0) -> bool:
        """For one more, those that are about to start taken off: they are not charged yet.

        ``own`` of them are the caller's.
        """
        left = memory.left(self._manager.host.counted_in)
        creating = [s for s in self._manager.chromes if s.held]
        promised = self.admission.held - len([s for s in creating if s.pid])
        need = self.settings.session_need_bytes + max(0, promised - own) * _BLANK_BYTES
        return left is None or left >= need

    def check_room(self) -> None:
        """Raises what a caller with no wishes would be told, if there is no room for one more."""
        refusal = self.refusal(self.warm.standard()) or self.admission.behind_others()
        if refusal is not None:
            raise refusal

    def may_start_ahead(self) -> bool:
        """Whether there is a place and the memory for a Chrome that nobody has asked for."""
        room = len(self._manager.chromes) + self.admission.held < self.places
        calm = (
            self._manager.closed is None and not self.admission.waiting and not self.breaker.is_open
        )
        return room and calm and self._has_memory()

    def crowded(self) -> bool:
        """Whether more Chromes run, or are about to, than there are places."""
        starting = self.admission.held - sum(s.held for s in self._manager.chromes)
        return len(self._manager.chromes) + starting > self.places

    async def settle(self, timeout_s: float) -> None:
        """Waits until no creation is under way, or for so long."""
        deadline = self._manager.clock() + timeout_s
        while self.admission.held and self._manager.clock() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)

    # -- creating --

    async def create(self, spec: SessionSpec, wait_s: float = 0.0) -> Session:
        """A session that is ready to be driven.

        Raises at once, or after ``wait_s``, what keeps it from a place: :class:`RateLimited`,
        :class:`PoolFull`, :class:`QueueFull`, :class:`NoMemory`, :class:`CircuitOpen`, and what
        :attr:`Manager.closed` says; then :class:`StartFailed` when Chrome doesn't come up,
        :class:`ProfileInUse`, :class:`InvalidRequest`; nothing of it is left then.
        """
        with self.stats.refusals():
            await self.admission.enter(spec, wait_s)
            began = self._manager.clock()
            self.scaling.note_creation(began)
            session = await self._create(spec)
        self.stats.created(self._manager.clock() - began, warm=session.warm)
        return session

    async def _create(self, spec: SessionSpec) -> Session:
        """It has a place, which is let go in the end."""
        session = None
        try:
            session = await self._wake(spec) or await self._start_trying(spec)
        finally:
            if session is not None:
                session.held = False
            self.admission.leave()
            self.on_change()
            self.warm.refill()
        return session

    async def _wake(self, spec: SessionSpec) -> Session | None:
        """A Chrome that waits, if one will do."""
        while session := self.warm.take(spec):
            session.held = True
            try:
                if await self.warm.wake(session, spec) and session.browser is not None:
                    await handshake.dress(session, session.browser, spec)
                    return session
            except InvalidRequest as error:
                await self._manager.discard(session, error.detail)
                raise
            except ChromepoolError as error:
                log.warning("session.not_woken", session=session.key, error=error)
            except BaseException:  # its caller hung up
                self._manager.abandon(session)
                raise
            session.held = False
            why = "it did not answer when it was woken"
            self._manager.later(self._manager.end(session, Reason.UNHEALTHY, why))
        return None

    async def _start_trying(self, spec: SessionSpec) -> Session:
        """A Chrome of its own, tried more than once: a start may fail by chance."""
        await self._make_place()
        refusal = self._no_start(own=1)  # others may have been admitted at the same moment
        if refusal is not None:
            raise refusal
        attempt = self.breaker.begin()
        try:
            session = await self._retry(spec)
        except StartFailed as error:
            failures, pause_s = self.settings.breaker_failures, self.settings.breaker_pause_s
            now = self._manager.clock()
            self.breaker.fail(attempt, now, error.detail, failures=failures, pause_s=pause_s)
            raise
        except BaseException:
            self.breaker.cancel(attempt)
            raise
        self.breaker.succeed()
        return session

    async def _retry(self, spec: SessionSpec) -> Session:
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(StartFailed),
            stop=tenacity.stop_after_attempt(self.settings.start_attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        ):
            with attempt:
                session = await self.start(spec)
        return session

    async def _make_place(self) -> None:
        """Ends Chromes that wait, where a place or their memory is needed."""
        while len(self._manager.chromes) >= self.places or not self._has_memory(own=1):
            session = self.warm.take_any()
            if session is None:
                return
            await self._manager.end(session, Reason.DRAINED, "its place was needed")

    async def start(self, spec: SessionSpec) -> Session:
        """One try: a session that is ready. Raises :class:`StartFailed`, :class:`ProfileInUse`,
        :class:`InvalidRequest`; nothing of it is left then."""
        session, began = self._manager.add(spec, held=spec.owner != POOL), self._manager.clock()
        try:
            await self._start(session)
            self.scaling.note_start(self._manager.clock() - began)
        except InvalidRequest as error:
            await self._manager.discard(session, error.detail)
            raise
        except BrowserGone:
            await session.is_gone.wait()  # it is dying, and Exited will tell of what
        except ProfileInUse as error:
            await self._manager.discard(session, error.detail)
            raise
        except ChromepoolError as error:
            await self._give_up(session, error.detail, error.remedy)
        except BaseException:  # its caller hung up
            self._manager.abandon(session)
            raise
        if session.state is not State.READY:
            await self._give_up(session, session.detail)
        return session

    async def _start(self, session: Session) -> None:
        try:
            commands, events = await handshake.spawn(self._manager.link, session, session.spec)
        except (StartFailed, ProfileInUse, InvalidRequest):
            self._manager.not_spawned(session)
            raise
        browser = self._manager.watch(session, commands, events)
        await handshake.greet(browser, self.settings)
        await handshake.dress(session, browser, session.spec)
        if session.state is State.STARTING:
            session.move(State.READY)

    async def _give_up(self, session: Session, why: str, remedy: str = "") -> None:
        """Ends it, and raises why."""
        await self._manager.discard(session, why)
        words = session.exit.stderr.strip()[-_LAST_WORDS:] if session.exit else ""
        said = f" Chrome's last words: {words}" if words else ""
        detail = (session.detail or why).rstrip(".")
        raise StartFailed(
            f"Chrome did not start: {detail}.{said}", remedy=remedy, retry_after_s=_RETRY_S
        )
