"""The history's database: an SQLite file, its schema, and the one connection that writes to it. All
of this waits for the disk, so :mod:`chromepool.gateway.history.writer` calls it in threads."""

import contextlib
import dataclasses
import datetime
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from chromepool.errors import ConfigError
from chromepool.gateway.event_stream import Event
from chromepool.gateway.log import get_logger
from chromepool.schema.admin import AlertView
from chromepool.schema.history import LOST, PastSession

log = get_logger("chromepool.journal")

T = TypeVar("T")

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
"""Scripts from each version of the schema to the next. A released script never changes."""
BUSY_S = 2.0
"""Seconds to wait for another process's lock on the file."""
_EVENTS_PER_SESSION = 10
_DAY_S = 86400.0
# A disk that is going bad must not be filled with damaged files.
_MAX_DAMAGED_FILES = 3
_LOST_DETAIL = "the daemon was killed while the session ran; the next start noticed its end"
_MARK_LOST = """
UPDATE sessions SET ended_at = ?, reason = ?, detail = ?
WHERE ended_at IS NULL AND id NOT IN (SELECT value FROM json_each(?))
"""
_OR_UPDATE = """
ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, reason = excluded.reason,
    detail = excluded.detail, usage = excluded.usage, exit = excluded.exit
"""
_PUT_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
# Running sessions have no ended_at, and stay.
_TRIM = (
    "DELETE FROM sessions WHERE ended_at < :oldest",
    "DELETE FROM events WHERE at < :oldest",
    """
    DELETE FROM sessions WHERE seq IN (SELECT seq FROM sessions WHERE ended_at IS NOT NULL
        ORDER BY seq LIMIT max(0, (SELECT count(*) FROM sessions) - :sessions))
    """,
    """
    DELETE FROM events WHERE seq IN (SELECT seq FROM events
        ORDER BY seq LIMIT max(0, (SELECT count(*) FROM events) - :events))
    """,
)


def is_damage(error: Exception) -> bool:
    """Tell a file that is damaged, or no database, from errors that may pass."""
    # Python raises the base class for SQLITE_CORRUPT and SQLITE_NOTADB, subclasses for the rest.
    return type(error) is sqlite3.DatabaseError


def put_aside(path: Path, now: float) -> Path:
    """Rename a damaged file and return its new name. Raises OSError."""
    when = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y%m%dT%H%M%S.%f")
    aside = path.rename(f"{path}.corrupt-{when}")
    for suffix in ("-wal", "-shm"):  # SQLite would apply them to the new file
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    for old in sorted(path.parent.glob(f"{path.name}.corrupt-*"))[:-_MAX_DAMAGED_FILES]:
        old.unlink(missing_ok=True)
    return aside


def _encode(value: Any) -> Any:
    if isinstance(value, str):  # SQLite refuses a lone surrogate, and the whole batch with it
        return value.encode(errors="replace").decode()
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"), default=str)
    return value


def _insert(
    db: sqlite3.Connection, table: str, kind: type[T], rows: Collection[T], conflict: str = ""
) -> None:
    names = list(kind.__annotations__)  # fields have the names of columns
    marks = ", ".join("?" * len(names))
    sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) {conflict}"  # noqa: S608
    db.executemany(sql, ([_encode(getattr(row, name)) for name in names] for row in rows))


@dataclasses.dataclass(eq=False)
class Database:
    """The file as one gateway writes it. An error closes it, and the next write opens it again."""

    path: Path
    max_sessions: int
    max_days: float
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    last: int = 0
    """Number of the last event, also of the gateway before; 0 until the first write."""
    is_suspect: bool = False
    """Set to check the file before the next write."""
    _db: sqlite3.Connection | None = None
    _begun: bool = False

    def close(self) -> None:
        """Close the file if it is open."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def write(
        self,
        sessions: Collection[PastSession] = (),
        events: Collection[Event] = (),
        alerts: Collection[AlertView] | None = None,
        running: Collection[str] = (),
        gap: int = 0,
    ) -> None:
        """Write all of it or nothing, and delete the oldest rows beyond the limits.

        ``alerts`` replaces the raised alerts; None leaves them. The first write marks unfinished
        sessions as lost, except those whose ids are in ``running``. The next gateway numbers its
        events from :attr:`last` plus ``gap``. Raises :class:`ConfigError` for a file of a newer
        chromepool, OSError and :class:`sqlite3.OperationalError` where another try may succeed, and
        other exceptions for rows that are refused."""
        with self._transaction() as db:
            if not self._begun:
                self._begin(db, running)
            self.last = max([self.last, *(event.number for event in events)])
            _insert(db, "sessions", PastSession, sessions, _OR_UPDATE)
            _insert(db, "events", Event, events)
            if alerts is not None:
                db.execute("DELETE FROM alerts")
                _insert(db, "alerts", AlertView, alerts)
            db.execute(_PUT_META, ("last_event", self.last + gap))
            self._trim(db)
        self._begun = True

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._open() as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
        except Exception as error:
            self.close()
            if not is_damage(error):
                raise
            try:
                log.error("journal.put_aside", path=put_aside(self.path, self.clock()))
            except OSError as failure:
                log.error("journal.not_put_aside", error=failure)
            raise sqlite3.OperationalError(str(error)) from error

    def _open(self) -> sqlite3.Connection:
        if self.is_suspect:
            self.close()
        if self._db is None:
            self.path.parent.stat()  # for an error that says more than SQLite's
            # Each write comes from a thread of its own, one after another.
            self._db = sqlite3.connect(
                self.path, BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._prepare(self._db)
            self.is_suspect = False
        return self._db

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"{self.path} was written by a newer chromepool: its schema has version {version},"
                f" and this chromepool knows versions up to {len(MIGRATIONS)}.",
                remedy="Install that version again, or move the file away.",
            )
        # A power cut loses the last moments and does not damage the file. The cache is smaller (in
        # KiB) than SQLite's own, which would fill up over days for a file that is seldom read.
        db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
            "PRAGMA journal_size_limit = 4194304; PRAGMA cache_size = -512"
        )
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            with db:
                db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT")

    def _begin(self, db: sqlite3.Connection, running: Collection[str]) -> None:
        meta = dict(db.execute("SELECT name, value FROM meta"))
        self.last = max(self.last, meta.get("last_event", 0))
        db.execute(_PUT_META, ("starts", meta.get("starts", 0) + 1))
        ids = json.dumps(list(running))
        db.execute(_MARK_LOST, (self.clock(), LOST, _LOST_DETAIL, ids))

    def _trim(self, db: sqlite3.Connection) -> None:
        values = {
            "oldest": self.clock() - self.max_days * _DAY_S,
            "sessions": self.max_sessions,
            "events": self.max_sessions * _EVENTS_PER_SESSION,
        }
        for statement in _TRIM:
            db.execute(statement, values)
