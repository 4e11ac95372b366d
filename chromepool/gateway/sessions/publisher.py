"""Public events of sessions, from the typed events of the gateway."""

from __future__ import annotations

import dataclasses
from typing import Any

from chromepool.gateway.event_stream import EventStream
from chromepool.gateway.sessions.events import (
    SessionChanged,
    SessionEnding,
    SessionGone,
    SessionReady,
)
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.model import State


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
