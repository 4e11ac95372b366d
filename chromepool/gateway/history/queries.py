"""Questions to the journal's file, on connections that cannot write.

Everything here blocks, and so belongs into a thread: see
:mod:`chromepool.gateway.history.writer`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import urllib.parse
from pathlib import Path

from chromepool.gateway.history.database import BUSY_S, AlertRow, EventRow, SessionRow

EVENTS_SHOWN = 1000
"""Events in one answer at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which sessions are asked for; None: every one."""

    owner: str | None = None
    since: float | None = None
    """Those that ended at that time or later, or run."""
    reason: str | None = None
    after: int | None = None
    """The cursor of the last one that was read."""
    limit: int = 100


def _connect(path: Path) -> sqlite3.Connection:
    quoted = urllib.parse.quote(str(path))
    db = sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_S)
    db.row_factory = sqlite3.Row
    return db


def _life(row: sqlite3.Row) -> SessionRow:
    values = {field.name: row[field.name] for field in dataclasses.fields(SessionRow)}
    for name in ("labels", "limits", "usage", "exit"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return SessionRow(**values | {"warm": bool(values["warm"])})


def _notes(db: sqlite3.Connection, which: str, *values: object) -> list[EventRow]:
    rows = db.execute(
        f"SELECT number, at, name, session_id, owner, fields FROM events WHERE {which} LIMIT ?",  # noqa: S608
        (*values, EVENTS_SHOWN),
    )
    return [EventRow(**{**dict(row), "fields": json.loads(row["fields"])}) for row in rows]


_SELECT = """
SELECT * FROM sessions
WHERE (:owner IS NULL OR owner = :owner)
    AND (:reason IS NULL OR reason = :reason)
    AND (:after IS NULL OR seq < :after)
    AND (:since IS NULL OR ended_at IS NULL OR ended_at >= :since)
ORDER BY seq DESC LIMIT :limit
"""


def read_lives(path: Path, question: HistoryQuery) -> list[tuple[int, SessionRow]]:
    """The sessions and their cursors, the newest first. Raises :class:`sqlite3.Error`."""
    with contextlib.closing(_connect(path)) as db:
        rows = db.execute(_SELECT, dataclasses.asdict(question)).fetchall()
    return [(row["seq"], _life(row)) for row in rows]


def read_life(path: Path, session_id: str) -> tuple[SessionRow, list[EventRow]] | None:
    """One session and its events, the oldest first. Raises :class:`sqlite3.Error`."""
    with contextlib.closing(_connect(path)) as db:
        row = db.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone()
        if row is None:
            return None
        return _life(row), _notes(db, "session_id = ? ORDER BY seq", session_id)


def read_notes(path: Path, after: int, before: int) -> list[EventRow]:
    """The first :data:`EVENTS_SHOWN` events of numbers between these two, by number. Raises
    :class:`sqlite3.Error`."""
    with contextlib.closing(_connect(path)) as db:
        return _notes(db, "number > ? AND number < ? ORDER BY number", after, before)


@dataclasses.dataclass(frozen=True, slots=True)
class AlertState:
    """What the daemon needs to know of its life before."""

    standing: list[AlertRow]
    """Alerts that are raised."""
    endings: list[EventRow]
    """The last events that tell why a session ended, in order."""


def read_recollection(path: Path, since: float) -> AlertState:
    """With the endings since that time (seconds since 1970). Raises :class:`sqlite3.Error`."""
    with contextlib.closing(_connect(path)) as db:
        rows = db.execute("SELECT name, severity, since, text FROM alerts ORDER BY since")
        standing = [AlertRow(**row) for row in rows]
        endings = _notes(db, "at >= ? AND name = 'session.closing' ORDER BY at DESC", since)
    return AlertState(standing, endings[::-1])
