"""The journal's file: an SQLite database, its schema, and what is written to and read from it.

Everything here blocks, and so belongs into a thread: see
:mod:`chromepool.gateway.history.writer`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from chromepool.errors import ConfigError

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE sessions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        labels TEXT NOT NULL,
        created_at REAL NOT NULL,
        ended_at REAL,
        reason TEXT,
        detail TEXT NOT NULL,
        warm INTEGER NOT NULL,
        limits TEXT NOT NULL,
        usage TEXT,
        exit TEXT
    );
    CREATE INDEX sessions_ended_at ON sessions (ended_at);
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        number INTEGER NOT NULL,
        at REAL NOT NULL,
        name TEXT NOT NULL,
        session_id TEXT,
        owner TEXT,
        fields TEXT NOT NULL
    );
    CREATE INDEX events_at ON events (at);
    CREATE INDEX events_session_id ON events (session_id);
    """,
    """
    CREATE TABLE alerts (
        name TEXT PRIMARY KEY,
        severity TEXT NOT NULL,
        since REAL NOT NULL,
        text TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX events_number ON events (number);
    """,
)
"""From each version of the schema to the next; never changed once released, only added to."""
LOST = "lost"
"""The reason of a session whose end nobody saw; known to the journal alone."""
_LOST_DETAIL = "the daemon was killed while it ran; this is when it was found out"
_EVENTS_PER_SESSION = 10
"""Events that are kept for each session that may be kept."""
BUSY_S = 2.0
"""How long somebody else's lock is waited for."""
_WAL_BYTES = 4 << 20
_CACHE_KIB = 512
"""It is written at its end and seldom read; SQLite's own 2 MiB fill up over days for nothing."""
_DAY_S = 86400.0
_ASIDE = 3
"""Files put aside that are kept, the newest: a disk that is going bad must not fill itself."""


class Damaged(sqlite3.DatabaseError):
    """The file is a database, and broken."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept."""

    sessions: int
    days: float


@dataclasses.dataclass(frozen=True, slots=True)
class SessionRow:
    """A session; times in seconds since 1970."""

    # The id is a capability while the session runs. It is kept because people ask by it, and only
    # the gateway can read the file: its folder is 0700.
    id: str
    owner: str
    labels: Mapping[str, str]
    created_at: float
    limits: Mapping[str, Any]
    warm: bool = False
    ended_at: float | None = None
    reason: str | None = None
    detail: str = ""
    usage: Mapping[str, Any] | None = None
    """At its end."""
    exit: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EventRow:
    """An event."""

    number: int
    at: float
    name: str
    session_id: str | None = None
    owner: str | None = None
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert that is raised; ``since`` in seconds since 1970."""

    name: str
    severity: str
    since: float
    text: str


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken, and not just the moment."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it is detail
    return isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def put_aside(path: Path, now: float) -> Path:
    """Renames a broken file, and what belongs to it; its new name. Raises OSError."""
    when = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y%m%dT%H%M%S.%f")
    aside = path.with_name(f"{path.name}.corrupt-{when}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):  # left behind they would be played into the new file
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    for old in sorted(path.parent.glob(f"{path.name}.corrupt-*"))[:-_ASIDE]:
        old.unlink(missing_ok=True)
    return aside


def _text(value: str | None) -> str | None:
    """As UTF-8 can have it: a lone surrogate would be refused, and hold up all that follows."""
    return value if value is None else value.encode(errors="replace").decode()


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"), default=str)


def _life_row(life: SessionRow) -> dict[str, Any]:
    row = {field.name: getattr(life, field.name) for field in dataclasses.fields(life)}
    for name in ("labels", "limits", "usage", "exit"):
        row[name] = _json(row[name])
    for name in ("owner", "reason", "detail"):
        row[name] = _text(row[name])
    return row


def _note_row(note: EventRow) -> dict[str, Any]:
    row = {field.name: getattr(note, field.name) for field in dataclasses.fields(note)}
    return row | {"fields": _json(note.fields), "owner": _text(note.owner)}


_WRITE_LIFE = """
INSERT INTO sessions (id, owner, labels, created_at, ended_at, reason, detail, warm, limits, usage,
    exit)
VALUES (:id, :owner, :labels, :created_at, :ended_at, :reason, :detail, :warm, :limits, :usage,
    :exit)
ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, reason = excluded.reason,
    detail = excluded.detail, usage = excluded.usage, exit = excluded.exit
"""
_WRITE_NOTE = """
INSERT INTO events (number, at, name, session_id, owner, fields)
VALUES (:number, :at, :name, :session_id, :owner, :fields)
"""
_WRITE_ALERT = """
INSERT INTO alerts (name, severity, since, text) VALUES (:name, :severity, :since, :text)
"""
_WRITE_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"


class JournalFile:
    """The file, open for writing. Every method may raise :class:`sqlite3.Error`."""

    def __init__(self, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
        """Opens it, made or brought to the newest schema if need be.

        Raises :class:`ConfigError` for one that a newer chromepool has written.
        """
        self.path = path
        self._standing: Sequence[AlertRow] | None = None
        self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            self._prepare(migrations)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """May be called twice."""
        self._db.close()

    def _prepare(self, migrations: Sequence[str]) -> None:
        version = self.version
        if version > len(migrations):
            raise ConfigError(
                f"{self.path} was written by a newer chromepool: its schema is {version}, and this"
                f" one knows {len(migrations)}.",
                remedy="Install that version again, or move the file away.",
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        # In WAL mode this cannot break the file; what a power cut takes is the last moments.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Damaged(found)
        for number, script in enumerate(migrations[version:], version + 1):
            self._migrate(script, number)

    def _migrate(self, script: str, number: int) -> None:
        """One step, done or not done at all."""
        try:
            self._db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """After some errors SQLite has done so itself."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")

    @property
    def version(self) -> int:
        """The schema's."""
        found: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return found

    def _count(self, table: str) -> int:
        found: int = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        return found

    def meta(self, name: str) -> int:
        """A number that outlives the daemon; 0 where there is none."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def begin(self, now: float, running: Sequence[str] = ()) -> int:
        """A new life of the daemon: what the one before left open is lost, but for those that are
        ``running`` (ids). How many there were."""
        with self._transaction():
            starts = self.meta("starts") + 1
            self._db.execute(_WRITE_META, ("starts", starts))
            self._db.execute(
                "UPDATE sessions SET ended_at = ?, reason = ?, detail = ? WHERE ended_at IS NULL"
                " AND id NOT IN (SELECT value FROM json_each(?))",
                (now, LOST, _LOST_DETAIL, json.dumps(list(running))),
            )
        return starts

    def write(
        self,
        lives: Sequence[SessionRow],
        notes: Sequence[EventRow],
        last: int,
        bounds: Bounds,
        now: float,
        *,
        standing: Sequence[AlertRow] | None = None,
    ) -> None:
        """All of it or nothing; then as much is let go as ``bounds`` demands. ``last``: the number
        that the events of a next life come after. ``standing``: all alerts that are raised; None:
        nothing is known of them yet, and those that are written stay."""
        with self._transaction():
            if standing is not None and standing != self._standing:
                self._db.execute("DELETE FROM alerts")
                self._db.executemany(_WRITE_ALERT, map(dataclasses.asdict, standing))
            self._db.executemany(_WRITE_LIFE, map(_life_row, lives))
            self._db.executemany(_WRITE_NOTE, map(_note_row, notes))
            self._db.execute(_WRITE_META, ("last_event", last))
            self._trim(bounds, now)
        self._standing = standing

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _trim(self, bounds: Bounds, now: float) -> None:
        """Sessions that run stay in any case."""
        oldest = now - bounds.days * _DAY_S
        self._db.execute("DELETE FROM sessions WHERE ended_at < ?", (oldest,))
        self._db.execute("DELETE FROM events WHERE at < ?", (oldest,))
        self._db.execute(
            "DELETE FROM sessions WHERE seq IN (SELECT seq FROM sessions"
            " WHERE ended_at IS NOT NULL ORDER BY seq LIMIT ?)",
            (max(0, self._count("sessions") - bounds.sessions),),
        )
        self._db.execute(
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)",
            (max(0, self._count("events") - bounds.sessions * _EVENTS_PER_SESSION),),
        )
