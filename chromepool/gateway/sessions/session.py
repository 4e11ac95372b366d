"""The session: its identity, its state, its deadlines and its end."""

from __future__ import annotations

import asyncio
import contextlib
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
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import Exit, Limits, Reason, State, Usage

log = get_logger("chromepool.gateway.sessions")

LAST_WORDS = "; last words: "
"""Separates a detail from the words of Chrome at its end, which are never logged."""
RECONNECT_S = 30.0
"""Time that clients have at least to reconnect to a session whose gateway was replaced."""
POOL = "pool"
"""The owner of a warm Chrome. No client is ever called that."""

MOVES: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.RESUMING, State.CLOSING}),
    State.RESUMING: frozenset({State.READY, State.CLOSING}),
    State.READY: frozenset({State.FROZEN, State.CLOSING}),
    State.FROZEN: frozenset({State.READY, State.CLOSING}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}
"""The moves from each state. A Chrome that dies by itself is CLOSING until it is gone."""


def utc_now() -> datetime.datetime:
    """The time of day, for people; deadlines use the monotonic clock."""
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(eq=False)
class Session:
    """A Chrome with an owner, or a warm one that waits for an owner."""

    key: int
    """The session's number on the wire and in the log."""
    spec: SessionSpec
    clock: Callable[[], float]
    """Monotonic seconds."""
    on_move: Callable[[Session, State], None] = lambda session, before: None
    """Called after each change of state, with the state before it."""
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))
    """128 random bits: whoever knows them may drive the session. Never logged, never in a path."""
    guid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    """The last part of the browser WebSocket's path."""
    state: State = State.STARTING
    created_at: datetime.datetime = dataclasses.field(default_factory=utc_now)
    ended_at: datetime.datetime | None = None
    pid: int = 0
    profile: str = ""
    """Path of the folder that Chrome can write to."""
    browser: Browser | None = None
    artifacts: Artifacts | None = None
    """Scripts, responses and console messages, while Chrome runs."""
    downloads: Downloads | None = None
    """Downloaded files, while Chrome runs."""
    held: bool = False
    """True if its creation is still under way, and holds the slot."""
    reason: Reason | None = None
    detail: str = ""
    """The reason of the end in words."""
    exit: Exit | None = None
    crashes: list[Crash] = dataclasses.field(default_factory=list)
    """Tabs that crashed, filled at the end; until then the browser has them."""
    usage: Usage = dataclasses.field(default_factory=Usage)
    """Filled at the end; until then the supervisor measures it."""
    oom_kills_seen: int = 0
    """OOM kills that have been reported as crashes of tabs."""
    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    """Filled at the end, like the usage."""
    warm: bool = False
    """True if the session began with a warm Chrome."""
    is_gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set once nothing of the session is left."""

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.last_active = self.began
        self.ended = 0.0
        self.left: float | None = None
        """Time when the last client disconnected; None while there is one."""
        self._auto_attacher: AutoAttacher | None = None

    # -- owner and limits --

    @property
    def owner(self) -> str:
        """The user who created it, or :data:`POOL`."""
        return self.spec.owner

    @property
    def limits(self) -> Limits:
        """The caps it runs under."""
        return self.spec.limits

    @property
    def last_active_at(self) -> datetime.datetime:
        """Time when a client last sent a command."""
        return self._wall_time(self.last_active)

    def _wall_time(self, at: float) -> datetime.datetime:
        return utc_now() + datetime.timedelta(seconds=at - self.clock())

    def claim(self, spec: SessionSpec) -> None:
        """Give a warm Chrome to an owner; the session's life begins now."""
        self.spec = spec
        self.warm = True
        self.created_at = utc_now()
        self.began = self.clock()
        self.last_active = self.began
        self.on_move(self, self.state)

    def auto_attacher(self) -> AutoAttacher:
        """The daemon's own client in this Chrome, made when it is first needed; raises
        :class:`BrowserGone` once Chrome has ended."""
        if self.browser is None:
            raise BrowserGone("The session's Chrome is gone.")
        if self._auto_attacher is None:
            self._auto_attacher = AutoAttacher(self.browser)
        return self._auto_attacher

    def release_browser(self) -> None:
        """Free what was kept for the browser, and keep its counters: captured responses can be
        megabytes, and the next search for cycles may be far away."""
        if self.browser is None:
            return
        self.crashes = self.browser.crashes
        self.traffic = self.browser.traffic
        self.browser.release()
        if self.artifacts is not None:
            self.artifacts.clear()
        if self._auto_attacher is not None:
            self._auto_attacher.close()
        self.browser = None
        self.artifacts = None
        self.downloads = None
        self._auto_attacher = None

    def resume(self, began: float, last_active: float, left: float | None) -> None:
        """Continue a session of an earlier gateway, with its times there (monotonic seconds)."""
        now = self.clock()
        self.began = began
        self.last_active = last_active
        self.left = left
        if self.spec.idle_timeout_s:
            used_s = max(0.0, self.spec.idle_timeout_s - RECONNECT_S)
            self.last_active = max(last_active, now - used_s)
        if self.spec.fleeting:
            self.spec = msgspec.structs.replace(self.spec, grace_s=RECONNECT_S)
        if self.spec.grace_s is not None:
            self.left = max(now if left is None else left, now - self.spec.grace_s + RECONNECT_S)
        self._log_move(State.RESUMING)
        # No event: the earlier snapshot must stay until Chrome has answered this gateway.
        self.state = State.RESUMING

    # -- states --

    def move(self, state: State) -> None:
        """Change the state, and report it."""
        if state not in MOVES[self.state]:
            raise AssertionError(f"session {self.key} cannot go from {self.state} to {state}")
        self._log_move(state)
        before = self.state
        self.state = state
        self.on_move(self, before)

    def _log_move(self, after: State) -> None:
        fields = {"owner": self.owner, "before": self.state, "after": after}
        if self.reason:  # Chrome's last words may quote its pages, which are not for the log
            fields |= {"reason": self.reason, "detail": self.detail.partition(LAST_WORDS)[0]}
        log.info("session.moved", session=self.key, **fields)

    def begin_end(self, reason: Reason, detail: str) -> bool:
        """Move to CLOSING with the first reason that is given; False if it was ending already."""
        if self.state in (State.CLOSING, State.CLOSED):
            return False
        self.reason = reason
        self.detail = detail
        self.move(State.CLOSING)
        return True

    def finish(self, usage: Usage) -> None:
        """Move to CLOSED: nothing of the session is left."""
        self.usage = usage
        self.ended_at = utc_now()
        self.ended = self.clock()
        self.move(State.CLOSED)
        self.is_gone.set()

    # -- deadlines --

    def touch(self) -> None:
        """Begin the idle timeout again: somebody drives the session."""
        self.last_active = self.clock()

    def deadlines(self) -> list[tuple[float, Reason, str]]:
        """The times at which it ends if nobody does anything (monotonic seconds), and why."""
        if self.state is not State.READY or self.owner == POOL:
            return []
        idle_s, age_s, grace_s = self.spec.idle_timeout_s, self.spec.max_age_s, self.spec.grace_s
        found: list[tuple[float, Reason, str]] = []
        if idle_s:
            why = f"no CDP command for {idle_s:g} s"
            found.append((self.last_active + idle_s, Reason.IDLE_TIMEOUT, why))
        if age_s:
            found.append((self.began + age_s, Reason.MAX_AGE, f"it was {age_s:g} s old"))
        if grace_s is not None and self.left is not None:
            why = f"its client did not come back within {grace_s:g} s"
            found.append((self.left + grace_s, Reason.CLIENT_CLOSED, why))
        return found

    @property
    def expires_at(self) -> datetime.datetime | None:
        """The first of its deadlines, for people."""
        due = min((due for due, _, _ in self.deadlines()), default=None)
        return None if due is None else self._wall_time(due)


async def measure(session: Session, supervisor: SupervisorClient) -> Usage:
    """The usage now, as the supervisor reads it; of an ended session, that of its end."""
    if not session.is_gone.is_set() and session.pid:
        with contextlib.suppress(BrowserGone):
            return (await supervisor.inspect(session.key)).usage
    return session.usage


def explain_exit(exit: Exit, *, asked_to_close: bool) -> tuple[Reason, str]:
    """The reason and the detail for a Chrome that nobody stopped."""
    if exit.signal == "SIGKILL" and exit.oom_kills:
        return Reason.OUT_OF_MEMORY, "the kernel killed Chrome for going over its memory limit"
    if asked_to_close or exit.code == 0:
        return Reason.CLIENT_CLOSED, "a client closed the browser"
    if exit.code is None and exit.signal is None:
        return Reason.CRASHED, "Chrome ended; its exit status went to an earlier daemon"
    how = f"was killed by {exit.signal}" if exit.signal else f"exited with code {exit.code}"
    return Reason.CRASHED, f"Chrome {how}"
