"""The typed events of sessions on the gateway's bus, and the public events made of them."""

import dataclasses
from typing import Any

from chromepool.gateway.browser.browser import Crash
from chromepool.gateway.event_stream import EventStream
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.model import State


@dataclasses.dataclass(frozen=True)
class SessionEvent:
    """An event in the life of a session."""

    session: Session


@dataclasses.dataclass(frozen=True)
class SessionReady(SessionEvent):
    """A session can be driven, or a warm Chrome is ready for an owner."""

    before: State
    """The state it came from; READY: a warm Chrome was given to an owner."""


class SessionEnding(SessionEvent):
    """A session begins to end; its reason is set."""


class SessionGone(SessionEvent):
    """The last of a session is removed; its usage is final."""


@dataclasses.dataclass(frozen=True)
class SessionChanged(SessionEvent):
    """A session changed in another way that the next gateway must know."""

    moved: bool = False
    """True if its state changed, to FROZEN."""


class ClientLeft(SessionEvent):
    """The last client of a session has disconnected."""


@dataclasses.dataclass(frozen=True)
class PipeClosed(SessionEvent):
    """Chrome closed its pipe, most likely by dying, or it was closed for what Chrome sent."""

    why: str
    """Reason why the gateway closed the pipe; empty: Chrome did."""


@dataclasses.dataclass(frozen=True)
class TabCrashed(SessionEvent):
    """A tab crashed while its session went on; the crash has its reason."""

    crash: Crash


class SlotFreed:
    """A slot may have become free, or nothing more will: waiting callers are decided again."""


class SweepDue:
    """Deadlines, slots or the number of warm Chromes wanted may have changed."""


def state_event(session: Session, before: State) -> SessionEvent:
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


class SessionPublisher:
    """Emits ``session.created``, ``session.closed`` and the states between."""

    def __init__(self, events: EventStream) -> None:
        self._events = events

    def on_ready(self, event: SessionReady) -> None:
        """Emit ``session.created``, ``session.adopted``, or ``session.ready`` of a warm Chrome."""
        session = event.session
        if event.before is State.RESUMING:
            self._emit("session.adopted", session)
        elif session.owner == POOL:
            self._emit("session.ready", session)
        else:
            labels = session.spec.labels
            self._emit("session.created", session, labels=labels, warm=session.warm)

    def on_changed(self, event: SessionChanged) -> None:
        """Emit ``session.frozen``."""
        if event.moved:
            self._emit(f"session.{event.session.state}", event.session)

    def on_ending(self, event: SessionEnding) -> None:
        """Emit ``session.closing`` with the reason."""
        session = event.session
        self._emit("session.closing", session, reason=session.reason, detail=session.detail)

    def on_gone(self, event: SessionGone) -> None:
        """Emit ``session.closed`` with the usage."""
        session = event.session
        usage = dataclasses.asdict(session.usage)
        end = {"reason": session.reason, "detail": session.detail}
        self._emit("session.closed", session, usage=usage, **end)

    def _emit(self, name: str, session: Session, **fields: Any) -> None:
        self._events.emit(name, session.id, session.owner, **fields)
