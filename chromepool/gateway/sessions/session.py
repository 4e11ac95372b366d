"""One session: its identity, its state, its deadlines and its end."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import secrets
import uuid
from collections.abc import Callable

import msgspec

from chromepool.errors import BrowserGone
from chromepool.gateway.browser.auto_attach import AutoAttacher
from chromepool.gateway.browser.browser import Browser, Crash, Traffic
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.downloads import Downloads
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Exit, Limits, Reason, State, Usage

log = get_logger("chromepool.gateway.sessions")

LAST_WORDS = "; last words: "
"""What stands in a detail before words of Chrome's."""
RECONNECT_S = 30.0
"""What clients have at least to come back to a session whose gateway was replaced."""
POOL = "pool"
"""The owner of a Chrome that waits for one. No client is ever called that."""

MOVES: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.RESUMING, State.CLOSING}),
    State.RESUMING: frozenset({State.READY, State.CLOSING}),
    State.READY: frozenset({State.FROZEN, State.CLOSING}),
    State.FROZEN: frozenset({State.READY, State.CLOSING}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}
"""From each state, where it may go. A Chrome that dies by itself is closing until it is gone."""


def utc_now() -> datetime.datetime:
    """The time of day, for people; deadlines use the monotonic clock."""
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(eq=False)
class Session:
    """A Chrome of somebody's own, or one that waits for somebody."""

    key: int
    """Its number on the wire."""
    spec: SessionSpec
    clock: Callable[[], float]
    """Monotonic seconds."""
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))
    """128 random bits: whoever knows it may drive the session. Never logged, never in a path."""
    guid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    """The last part of the browser WebSocket's path."""
    state: State = State.STARTING
    created_at: datetime.datetime = dataclasses.field(default_factory=utc_now)
    ended_at: datetime.datetime | None = None
    pid: int = 0
    profile: str = ""
    """Path of the folder that its Chrome can write to."""
    browser: Browser | None = None
    held: bool = False
    """Whether the creation that made it is still under way, and has its place."""
    reason: Reason | None = None
    detail: str = ""
    """The end in words."""
    exit: Exit | None = None
    crashes: list[Crash] = dataclasses.field(default_factory=list)
    """Tabs that crashed, once it is over; while it runs its browser has them."""
    usage: Usage = dataclasses.field(default_factory=Usage)
    """Filled once it is over; while it runs the supervisor is asked."""
    oom_kills_seen: int = 0
    """OOM kills already told as the end of a tab."""
    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    """Filled once it is over, like the usage."""
    warm: bool = False
    """Whether it began with a Chrome that was waiting."""
    is_gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.began = self.last_active = self.clock()
        self.ended = 0.0
        self._auto_attacher: AutoAttacher | None = None
        self.artifacts: Artifacts | None = None
        """What is kept of it, while it lives."""
        self.downloads: Downloads | None = None
        """What it has downloaded, likewise."""
        self.moved: Callable[[Session, State], None] = lambda session, before: None
        """Told of each move, with the state before it."""
        self.left: float | None = None
        """When its last client went, while it has none."""

    # -- whose, and what it may --

    @property
    def owner(self) -> str:
        """Who created it, or :data:`POOL`."""
        return self.spec.owner

    @property
    def limits(self) -> Limits:
        """The caps it runs under."""
        return self.spec.limits

    @property
    def last_active_at(self) -> datetime.datetime:
        """When a client last sent a command."""
        return utc_now() - datetime.timedelta(seconds=self.clock() - self.last_active)

    def claim(self, spec: SessionSpec) -> None:
        """A waiting Chrome becomes somebody's session; its life begins now."""
        self.spec, self.warm = spec, True
        self.created_at = utc_now()
        self.began = self.last_active = self.clock()

    def auto_attacher(self) -> AutoAttacher:
        """The daemon's own client in its Chrome, made when it is first needed.

        Raises :class:`BrowserGone` where there is no Chrome any more.
        """
        if self.browser is None:
            raise BrowserGone("The session's Chrome is gone.")
        if self._auto_attacher is None:
            self._auto_attacher = AutoAttacher(self.browser)
        return self._auto_attacher

    def forget_auto_attacher(self) -> None:
        """Its Chrome is gone."""
        if self._auto_attacher is not None:
            self._auto_attacher.close()
        self._auto_attacher = None

    def resume(self, began: float, last_active: float, left: float | None) -> None:
        """It lived under another gateway before, as these times tell (monotonic seconds); its
        clients have :data:`RECONNECT_S` to come back."""
        spec, now = self.spec, self.clock()
        self.began, self.last_active, self.left = began, last_active, left
        if spec.idle_timeout_s:
            fresh_s = min(RECONNECT_S, spec.idle_timeout_s)
            self.last_active = max(last_active, now - spec.idle_timeout_s + fresh_s)
        if spec.fleeting:
            self.spec = spec = msgspec.structs.replace(spec, grace_s=RECONNECT_S)
        if spec.grace_s is not None:
            self.left = max(now if left is None else left, now - spec.grace_s + RECONNECT_S)
        self.move(State.RESUMING)

    # -- states --

    def move(self, state: State) -> None:
        """The one place where the state changes."""
        if state not in MOVES[self.state]:
            raise AssertionError(f"session {self.key} cannot go from {self.state} to {state}")
        self._log_move(state)
        before, self.state = self.state, state
        self.moved(self, before)

    def _log_move(self, after: State) -> None:
        fields = {"owner": self.owner, "before": self.state, "after": after}
        if self.reason:  # what Chrome said last may be of its pages, which are not for the log
            detail = self.detail.partition(LAST_WORDS)[0]
            fields |= {"reason": self.reason, "detail": detail}
        log.info("session.moved", session=self.key, **fields)

    def begin_end(self, reason: Reason, detail: str) -> bool:
        """Closing from here on, with the first reason that was given; False if it was already."""
        if self.state in (State.CLOSING, State.CLOSED):
            return False
        self.reason, self.detail = reason, detail
        self.move(State.CLOSING)
        return True

    def finish(self, usage: Usage) -> None:
        """Nothing of it is left."""
        self.usage = usage
        self.ended_at, self.ended = utc_now(), self.clock()
        self.move(State.CLOSED)
        self.is_gone.set()

    # -- deadlines --

    def touch(self) -> None:
        """Somebody drives it."""
        self.last_active = self.clock()

    def deadlines(self) -> list[tuple[float, Reason, str]]:
        """When it is over if nobody does anything, and why, in monotonic seconds."""
        if self.state is not State.READY or self.owner == POOL:
            return []
        spec, found = self.spec, []
        if spec.idle_timeout_s:
            why = f"no CDP command for {spec.idle_timeout_s:g} s"
            found.append((self.last_active + spec.idle_timeout_s, Reason.IDLE_TIMEOUT, why))
        if spec.max_age_s:
            why = f"it was {spec.max_age_s:g} s old"
            found.append((self.began + spec.max_age_s, Reason.MAX_AGE, why))
        if spec.grace_s is not None and self.left is not None:
            why = f"its client did not come back within {spec.grace_s:g} s"
            found.append((self.left + spec.grace_s, Reason.CLIENT_CLOSED, why))
        return found

    @property
    def expires_at(self) -> datetime.datetime | None:
        """The first of its deadlines, for people."""
        dues = [due for due, _, _ in self.deadlines()]
        if not dues:
            return None
        return utc_now() + datetime.timedelta(seconds=min(dues) - self.clock())


def explain_exit(exit: Exit, *, asked_to_close: bool) -> tuple[Reason, str]:
    """Why a Chrome that nobody stopped is dead."""
    if exit.signal == "SIGKILL" and exit.oom_kills:
        return Reason.OUT_OF_MEMORY, "the kernel killed Chrome for going over its memory limit"
    if asked_to_close or exit.code == 0:
        return Reason.CLIENT_CLOSED, "a client closed the browser"
    if exit.code is None and exit.signal is None:
        return Reason.CRASHED, "Chrome ended; how was not to be seen, since a new daemon had it"
    how = f"was killed by {exit.signal}" if exit.signal else f"exited with code {exit.code}"
    return Reason.CRASHED, f"Chrome {how}"
