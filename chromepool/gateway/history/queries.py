"""Queries to the history's database, on connections that cannot write. All may raise sqlite3.Error,
and wait for the disk, so :mod:`chromepool.gateway.history.writer` calls them in threads."""

import dataclasses
import datetime
import functools
import json
import sqlite3
import urllib.parse
from pathlib import Path
from typing import Any, TypeVar

from chromepool.gateway.event_stream import Event
from chromepool.gateway.history.database import BUSY_S
from chromepool.schema.admin import AlertView
from chromepool.schema.history import HistoryPage, PastEvent, PastSession, PastSessionWithEvents

T = TypeVar("T")

MAX_EVENTS = 1000
"""Events in one answer."""
_FIND_SESSIONS = """
SELECT * FROM sessions
WHERE (:owner IS NULL OR owner = :owner)
    AND (:reason IS NULL OR reason = :reason)
    AND (:after IS NULL OR seq < :after)
    AND (:since IS NULL OR ended_at IS NULL OR ended_at >= :since)
ORDER BY seq DESC LIMIT :limit + 1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Filters for sessions; None does not filter."""

    owner: str | None = None
    since: float | None = None
    """Seconds since 1970, for sessions that ended then or later and for running ones."""
    reason: str | None = None
    after: int | None = None
    """The ``next`` of the page before."""
    limit: int = 100


@dataclasses.dataclass(frozen=True, slots=True)
class AlertState:
    """The past that alerts continue from."""

    alerts: list[AlertView]
    """Raised alerts."""
    endings: list[Event]
    """The latest ``session.closing`` events, the oldest first."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database read-only."""
    uri = f"file:{urllib.parse.quote(str(path))}?mode=ro"
    db = sqlite3.connect(uri, BUSY_S, uri=True)
    db.row_factory = sqlite3.Row
    return db


_time = functools.partial(datetime.datetime.fromtimestamp, tz=datetime.UTC)
_DECODERS: dict[str, Any] = {
    **dict.fromkeys(("labels", "limits", "usage", "exit", "fields"), json.loads),
    **dict.fromkeys(("created_at", "ended_at", "at", "since"), _time),
    "warm": bool,
}


def _decode(name: str, value: Any) -> Any:
    return value if value is None or name not in _DECODERS else _DECODERS[name](value)


def _values(kind: type[object], row: sqlite3.Row) -> dict[str, Any]:
    return {name: _decode(name, row[name]) for name in kind.__annotations__}


def _events(db: sqlite3.Connection, kind: type[T], which: str, *values: object) -> list[T]:
    sql = f"SELECT * FROM events WHERE {which} LIMIT ?"  # noqa: S608
    return [kind(**_values(kind, row)) for row in db.execute(sql, (*values, MAX_EVENTS))]


def find_sessions(db: sqlite3.Connection, query: HistoryQuery) -> HistoryPage:
    """Return sessions, the newest first."""
    rows = db.execute(_FIND_SESSIONS, dataclasses.asdict(query)).fetchall()
    cursor = str(rows[query.limit - 1]["seq"]) if len(rows) > query.limit else None
    sessions = [PastSession(**_values(PastSession, row)) for row in rows[: query.limit]]
    return HistoryPage(sessions, cursor)


def find_session(db: sqlite3.Connection, session_id: str) -> PastSessionWithEvents | None:
    """Return a session and its first :data:`MAX_EVENTS` events; None if it is not kept."""
    row = db.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone()
    if row is None:
        return None
    events = _events(db, PastEvent, "session_id = ? ORDER BY seq", session_id)
    return PastSessionWithEvents(**_values(PastSession, row), events=events)


def events_between(db: sqlite3.Connection, after: int, before: int) -> list[Event]:
    """Return the first :data:`MAX_EVENTS` events with numbers between these two."""
    return _events(db, Event, "number > ? AND number < ? ORDER BY number", after, before)


def alert_state(db: sqlite3.Connection, since: float) -> AlertState:
    """Return the raised alerts, and the last :data:`MAX_EVENTS` endings since then."""
    rows = db.execute("SELECT * FROM alerts ORDER BY since")
    endings = _events(db, Event, "at >= ? AND name = 'session.closing' ORDER BY at DESC", since)
    return AlertState([AlertView(**_values(AlertView, row)) for row in rows], endings[::-1])
