"""The rows of the history: public events, and the sessions that have an owner."""

import dataclasses
from typing import Any

from chromepool.gateway.event_stream import Event
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.schema.history import PastSession

_SESSION_EVENTS = frozenset({"session.created", "session.closed"})
_MAX_TEXT = 1000


def _usage(session: Session) -> dict[str, Any]:
    traffic = session.browser.traffic if session.browser else session.traffic
    counts = {f"cdp_{name}": value for name, value in dataclasses.asdict(traffic).items()}
    return dataclasses.asdict(session.usage) | counts


def past_session(session: Session) -> PastSession:
    """Return a session as the history shows it."""
    end = session.exit
    return PastSession(
        id=session.id,
        owner=session.owner,
        labels=session.spec.labels,
        created_at=session.created_at,
        ended_at=session.ended_at,
        reason=session.reason,
        detail=session.detail[:_MAX_TEXT],
        warm=session.warm,
        limits=dataclasses.asdict(session.limits),
        usage=None if session.ended_at is None else _usage(session),
        exit=dataclasses.asdict(end) | {"stderr": end.stderr[-_MAX_TEXT:]} if end else None,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class HistoryRecorder:
    """Records events, and sessions when they begin and end."""

    writer: HistoryWriter

    def on_event(self, event: Event, session: Session | None = None) -> None:
        """Record an event, and the session that it is about."""
        if session is not None and event.name in _SESSION_EVENTS and event.owner != POOL:
            self.writer.put_session(past_session(session))
        self.writer.add_event(event)
