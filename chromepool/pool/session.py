"""One session: its identity, its state and its end."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import secrets
import uuid

from chromepool.browser.browser import Browser, Crash
from chromepool.model import Exit, Limits, Reason, State, Usage

log = logging.getLogger("chromepool.pool")

MOVES: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.CLOSING}),
    State.READY: frozenset({State.CLOSING}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}
"""From each state, where it may go. A Chrome that dies by itself is closing until it is gone."""


def utc_now() -> datetime.datetime:
    """The time of day, for people; deadlines use the monotonic clock."""
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(eq=False)
class Session:
    """A Chrome of somebody's own."""

    key: int
    """Its number on the wire."""
    owner: str
    labels: dict[str, str]
    limits: Limits
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))
    """128 random bits: whoever knows it may drive the session. Never logged, never in a path."""
    guid: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    """The last part of the browser WebSocket's path."""
    state: State = State.STARTING
    created_at: datetime.datetime = dataclasses.field(default_factory=utc_now)
    last_active_at: datetime.datetime = dataclasses.field(default_factory=utc_now)
    ended_at: datetime.datetime | None = None
    pid: int = 0
    browser: Browser | None = None
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
    is_gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    def move(self, state: State) -> None:
        """The one place where the state changes."""
        if state not in MOVES[self.state]:
            raise AssertionError(f"session {self.key} cannot go from {self.state} to {state}")
        log.info("session %d: %s -> %s%s", self.key, self.state, state, self._why())
        self.state = state

    def _why(self) -> str:
        return f" ({self.reason}: {self.detail})" if self.reason else ""

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
        self.ended_at = utc_now()
        self.move(State.CLOSED)
        self.is_gone.set()

    def touch(self) -> None:
        """Somebody drives it."""
        self.last_active_at = utc_now()


def explain_exit(exit: Exit, *, asked_to_close: bool) -> tuple[Reason, str]:
    """Why a Chrome that nobody stopped is dead."""
    if exit.signal == "SIGKILL" and exit.oom_kills:
        return Reason.OUT_OF_MEMORY, "the kernel killed Chrome for going over its memory limit"
    if asked_to_close or exit.code == 0:
        return Reason.CLIENT_CLOSED, "a client closed the browser"
    how = f"was killed by {exit.signal}" if exit.signal else f"exited with code {exit.code}"
    return Reason.CRASHED, f"Chrome {how}"
