"""The history's database, as version 0.1 wrote it and as it is now."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chromepool.gateway.event_stream import Event
from chromepool.gateway.history import queries
from chromepool.gateway.history.database import Database
from chromepool.gateway.history.queries import AlertState, HistoryQuery
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.schema.admin import AlertView
from chromepool.schema.history import HistoryPage, PastEvent, PastSession, PastSessionWithEvents

SAMPLE = Path(__file__).parent / "journal-0.1.db.gz"
"""Written by version 0.1: the second of two daemons was killed with two sessions."""
THEN = 1_800_000_000.0
LATER = THEN + 60
USAGE = {
    "cpu_s": 1.25,
    "memory_bytes": None,
    "memory_peak_bytes": 104857600,
    "cdp_messages_in": 12,
    "cdp_messages_out": 40,
}


def utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    path.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    return path


async def started(path: Path, running: list[str]) -> tuple[HistoryWriter, int]:
    writer = HistoryWriter(Database(path, 1000, 30.0, lambda: LATER))
    return writer, await writer.start(running)


def test_a_database_of_0_1_is_read(path: Path) -> None:
    async def read() -> tuple[HistoryPage, PastSessionWithEvents | None, AlertState]:
        writer, last = await started(path, [f"{3:032x}"])
        assert last == 20106
        try:
            return (
                await writer.read(queries.find_sessions, HistoryQuery()),
                await writer.read(queries.find_session, f"{1:032x}"),
                await writer.alert_state(THEN),
            )
        finally:
            await writer.close(10)

    page, crashed, alerts = asyncio.run(read())
    adopted, lost, ended = page.sessions
    assert (adopted.id, adopted.ended_at, adopted.warm) == (f"{3:032x}", None, False)
    assert (lost.id, lost.reason, lost.ended_at, lost.warm) == (
        f"{2:032x}",
        "lost",
        utc(LATER),
        True,
    )
    assert ended == PastSession(
        id=f"{1:032x}",
        owner="uid:1000",
        labels={"job": "1"},
        created_at=utc(THEN + 1.123456),
        ended_at=utc(THEN + 9.5),
        reason="crashed",
        detail="Chrome was killed by SIGSEGV",
        warm=False,
        limits={"memory_bytes": 1073741824, "pids": 512, "cpus": 1.0},
        usage=USAGE,
        exit={"code": None, "signal": "SIGSEGV", "oom_kills": 0, "stderr": "café"},
    )
    assert crashed is not None
    names = [event.name for event in crashed.events]
    assert names == ["session.created", "session.closing", "session.closed"]
    assert crashed.events[0] == PastEvent(
        101, utc(THEN + 101.25), "session.created", {"labels": {"job": "1"}, "warm": False}
    )
    text = "3 Chromes crashed within five minutes."
    assert alerts.alerts == [AlertView("crash_loop", "critical", utc(THEN + 9.75), text)]
    assert [event.number for event in alerts.endings] == [102]


def test_a_database_of_0_1_is_written_on(path: Path) -> None:
    async def write() -> None:
        writer, last = await started(path, [])
        writer.add_event(Event(last + 1, utc(LATER), "gateway.started"))
        await writer.close(10)
        assert writer.error == ""

    asyncio.run(write())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT value FROM meta WHERE name = 'starts'").fetchone() == (3,)
        assert db.execute("SELECT max(number) FROM events").fetchone() == (20107,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("table", "kind"), [("sessions", PastSession), ("events", Event), ("alerts", AlertView)]
)
def test_columns_have_the_names_of_fields(path: Path, table: str, kind: type[object]) -> None:
    with closing(sqlite3.connect(path)) as db:
        columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    assert columns - {"seq"} == set(kind.__annotations__), "a new field needs a migration"
