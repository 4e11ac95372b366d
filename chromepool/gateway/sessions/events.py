"""The typed events of sessions on the gateway's bus."""

from __future__ import annotations

import dataclasses

from chromepool.gateway.browser.browser import Crash
from chromepool.gateway.sessions.session import Session
from chromepool.model import State


@dataclasses.dataclass(frozen=True, slots=True)
class SessionReady:
    """A session can be driven, or a warm Chrome is ready for an owner."""

    session: Session
    before: State
    """The state it came from; READY: a warm Chrome was given to an owner."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionEnding:
    """A session begins to end; its reason is set."""

    session: Session


@dataclasses.dataclass(frozen=True, slots=True)
class SessionGone:
    """The last of a session is removed; its usage is final."""

    session: Session


@dataclasses.dataclass(frozen=True, slots=True)
class SessionChanged:
    """A session changed in another way that the next gateway must know."""

    session: Session
    moved: bool = False
    """True if its state changed, to FROZEN."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClientLeft:
    """The last client of a session has disconnected."""

    session: Session


@dataclasses.dataclass(frozen=True, slots=True)
class PipeClosed:
    """Chrome closed its pipe, most likely by dying, or it was closed for what Chrome sent."""

    session: Session
    why: str
    """Reason why the gateway closed the pipe; empty: Chrome did."""


@dataclasses.dataclass(frozen=True, slots=True)
class TabCrashed:
    """A tab crashed while its session went on; the crash has its reason."""

    session: Session
    crash: Crash


@dataclasses.dataclass(frozen=True, slots=True)
class SlotFreed:
    """A slot may have become free, or nothing more will: waiting callers are decided anew."""


@dataclasses.dataclass(frozen=True, slots=True)
class SweepDue:
    """Deadlines, slots or the number of warm Chromes wanted may have changed."""


def state_event(
    session: Session, before: State
) -> SessionReady | SessionEnding | SessionGone | SessionChanged:
    """The event of a session's move to the state it is in now."""
    match session.state:
        case State.READY:
            return SessionReady(session, before)
        case State.CLOSING:
            return SessionEnding(session)
        case State.CLOSED:
            return SessionGone(session)
        case _:
            return SessionChanged(session, moved=True)
