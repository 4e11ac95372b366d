"""Rows of the history's database, and what is in it."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

from chromepool.gateway.event_stream import Event
from chromepool.gateway.history import database as databases
from chromepool.gateway.history import queries
from chromepool.gateway.history.database import MIGRATIONS, Database
from chromepool.gateway.history.queries import HistoryQuery
from chromepool.schema.history import PastSession

NOW = 1_800_000_000.0


NEWER = (*MIGRATIONS, "CREATE TABLE extra (a)")


class Clock:
    """The time of day, as a test sets it."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def life(number: int, owner: str = "uid:1", **more: Any) -> PastSession:
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "owner": owner,
        "labels": {"n": str(number)},
        "created_at": utc(NOW + number),
        "ended_at": None,
        "reason": None,
        "detail": "",
        "warm": False,
        "limits": {"pids": 512},
        "usage": None,
        "exit": None,
    }
    return PastSession(**values | more)


def over(number: int, owner: str = "uid:1", reason: str = "deleted", **more: Any) -> PastSession:
    ended = {"ended_at": utc(NOW + number), "reason": reason, "usage": {}} | more
    return life(number, owner, **ended)


def note(number: int, session: PastSession | None = None, name: str = "session.closed") -> Event:
    session_id = session.id if session else None
    return Event(number, utc(NOW + number), name, session_id, "uid:1", {"reason": "deleted"})


@contextlib.contextmanager
def opened(
    path: Path,
    sessions: int = 1000,
    *,
    clock: Callable[[], float] | None = None,
    migrations: tuple[str, ...] = tuple(MIGRATIONS),
) -> Iterator[Database]:
    """The database as a gateway writes it that keeps thirty days."""
    with (
        mock.patch.object(databases, "MIGRATIONS", migrations),
        closing(Database(path, sessions, 30.0, clock or Clock())) as database,
    ):
        yield database


def ask(path: Path, query: Any, *values: Any) -> Any:
    with closing(queries.connect(path)) as db:
        return query(db, *values)


def kept(path: Path, **asked: Any) -> list[int]:
    """The numbers of the sessions that are found, in the order in which they are."""
    page = ask(path, queries.find_sessions, HistoryQuery(**asked))
    return [int(found.id, 16) for found in page.sessions]


def events(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT number FROM events ORDER BY seq")]


def meta(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT name, value FROM meta"))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        found: int = db.execute("PRAGMA user_version").fetchone()[0]
        return found
