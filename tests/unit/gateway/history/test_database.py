"""The history's database, as version 0.1 wrote it and as it is now."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chromepool.errors import ConfigError
from chromepool.gateway.event_stream import Event
from chromepool.gateway.history import queries
from chromepool.gateway.history.database import MIGRATIONS, Database, put_aside
from chromepool.gateway.history.queries import AlertState, HistoryQuery
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.schema.admin import AlertView
from chromepool.schema.history import (
    LOST,
    HistoryPage,
    PastEvent,
    PastSession,
    PastSessionWithEvents,
)
from testing.history import (
    NEWER,
    NOW,
    Clock,
    ask,
    events,
    kept,
    life,
    meta,
    note,
    opened,
    over,
    utc,
    version,
)

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


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.db"
    path.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    return path


async def started(sample: Path, running: list[str]) -> tuple[HistoryWriter, int]:
    writer = HistoryWriter(Database(sample, 1000, 30.0, lambda: LATER))
    return writer, await writer.start(running)


def test_a_database_of_0_1_is_read(sample: Path) -> None:
    async def read() -> tuple[HistoryPage, PastSessionWithEvents | None, AlertState]:
        writer, last = await started(sample, [f"{3:032x}"])
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


def test_a_database_of_0_1_is_written_on(sample: Path) -> None:
    async def write() -> None:
        writer, last = await started(sample, [])
        writer.add_event(Event(last + 1, utc(LATER), "gateway.started"))
        await writer.close(10)
        assert writer.error == ""

    asyncio.run(write())
    with closing(sqlite3.connect(sample)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT value FROM meta WHERE name = 'starts'").fetchone() == (3,)
        assert db.execute("SELECT max(number) FROM events").fetchone() == (20107,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("table", "kind"), [("sessions", PastSession), ("events", Event), ("alerts", AlertView)]
)
def test_columns_have_the_names_of_fields(sample: Path, table: str, kind: type[object]) -> None:
    with closing(sqlite3.connect(sample)) as db:
        columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    assert columns - {"seq"} == set(kind.__annotations__), "a new field needs a migration"


DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_what_is_written_is_read(path: Path) -> None:
    usage, ending = {"cpu_s": 0.5, "memory_bytes": None}, {"code": 1, "stderr": "\ud800 bye"}
    ended = over(1, reason="crashed", detail="it \ud800 fell", usage=usage, exit=ending, warm=True)
    with opened(path) as file:
        file.write([life(1, warm=True)])
        assert kept(path) == [1]
        file.write([ended], [note(7, ended)])
        found = ask(path, queries.find_session, ended.id)
        assert found.reason == "crashed"
        assert found.detail == "it ? fell"
        assert (found.usage, found.exit, found.warm) == (usage, ending, True)
        assert (found.created_at, found.ended_at) == (ended.created_at, ended.ended_at)
        assert (found.labels, found.limits) == (ended.labels, ended.limits)
        event = PastEvent(7, utc(NOW + 7), "session.closed", {"reason": "deleted"})
        assert found.events == [event]
        assert ask(path, queries.events_between, 6, 8) == [note(7, ended)]
        assert kept(path) == [1]
        assert ask(path, queries.find_session, "0") is None
        assert meta(path)["last_event"] == file.last == 7


def test_an_older_schema_is_brought_up_and_keeps_what_it_has(path: Path) -> None:
    with opened(path) as file:
        file.write([over(1)])
    newer = (*MIGRATIONS, "ALTER TABLE sessions ADD COLUMN colour TEXT", "CREATE TABLE extra (a)")
    with opened(path, migrations=newer) as file:
        file.write([over(2)])
    assert version(path) == len(MIGRATIONS) + 2
    assert kept(path) == [2, 1]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT colour FROM sessions").fetchall() == [(None,), (None,)]


def test_a_step_that_fails_leaves_the_version_before_it(path: Path) -> None:
    with opened(path) as file:
        file.write([over(1)])
    broken = (*NEWER, "CREATE TABLE other (a); SELECT nonsense")
    with (
        opened(path, migrations=broken) as file,
        pytest.raises(sqlite3.OperationalError, match="nonsense"),
    ):
        file.write()
    assert version(path) == len(MIGRATIONS) + 1
    with closing(sqlite3.connect(path)) as db:
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    assert "extra" in names
    assert "other" not in names
    with opened(path, migrations=NEWER) as file:
        file.write([over(2)])
    assert kept(path) == [2, 1]


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    with opened(path, migrations=NEWER) as file:
        file.write([over(1)])
    with (
        opened(path) as file,
        pytest.raises(ConfigError, match=r"newer chromepool.*Install that version"),
    ):
        file.write([over(2)])
    assert kept(path) == [1]


def test_rows_are_kept_up_to_the_bound(path: Path) -> None:
    with opened(path, 3) as file:
        for number in (1, 2, 3):
            file.write([over(number)])
        assert kept(path) == [3, 2, 1]
        file.write([over(4)])
        assert kept(path) == [4, 3, 2]
        file.write([], [note(n) for n in range(1, 31)])
        assert events(path) == [*range(1, 31)]
        file.write([], [note(31)])
        assert events(path) == [*range(2, 32)]
    with opened(path, 1) as file:  # the operator wants fewer
        file.write()
        assert kept(path) == [4]
        assert events(path) == [*range(22, 32)]


def test_a_session_that_runs_is_not_let_go_of(path: Path) -> None:
    clock = Clock()
    with opened(path, 2, clock=clock) as file:
        file.write([life(1), over(2), over(3), over(4)])
        assert kept(path) == [4, 1]
        clock.now = NOW + 100 * DAY
        file.write()
        assert kept(path) == [1]
        clock.now = NOW
        file.write([over(1)])
        assert kept(path, reason="deleted") == [1]


def test_what_is_too_old_goes_to_the_second(path: Path) -> None:
    clock = Clock()
    clock.now = NOW + 30 * DAY
    with opened(path, clock=clock) as file:
        file.write([over(0), over(1)], [note(0), note(1)])
        assert (kept(path), events(path)) == ([1, 0], [0, 1])
        clock.now = NOW + 30 * DAY + 0.5
        file.write()
        assert (kept(path), events(path)) == ([1], [1])
        clock.now = NOW + 30 * DAY + 1.5
        file.write()
        assert (kept(path), events(path)) == ([], [])


def test_questions(path: Path) -> None:
    with opened(path) as file:
        file.write([over(1), over(2, "uid:2"), over(3, reason="crashed"), life(4)])
    assert kept(path) == [4, 3, 2, 1]
    assert kept(path, owner="uid:2") == [2]
    assert kept(path, reason="crashed") == [3]
    assert kept(path, since=NOW + 2) == [4, 3, 2]
    assert kept(path, since=NOW + 2.001) == [4, 3]
    assert kept(path, owner="' OR 1=1 --") == []
    first = ask(path, queries.find_sessions, HistoryQuery(limit=2))
    assert [int(found.id, 16) for found in first.sessions] == [4, 3]
    last = ask(path, queries.find_sessions, HistoryQuery(limit=2, after=int(first.next)))
    assert [int(found.id, 16) for found in last.sessions] == [2, 1]
    assert last.next is None


def test_what_a_killed_daemon_left_open_is_lost(path: Path) -> None:
    with opened(path) as file:
        file.write([life(1), over(2), life(3)])
        assert meta(path)["starts"] == 1
    later = Clock()
    later.now = NOW + 60
    with opened(path, clock=later) as file:
        file.write(running=[life(3).id])
        file.write()
        assert meta(path)["starts"] == 2
    running, ended, lost = ask(path, queries.find_sessions, HistoryQuery()).sessions
    assert running.ended_at is None
    assert (ended.reason, ended.ended_at) == ("deleted", utc(NOW + 2))
    assert (lost.reason, lost.ended_at) == (LOST, utc(NOW + 60))
    assert "killed" in lost.detail


def test_alerts_are_kept_until_others_are_said_to_be_raised(path: Path) -> None:
    low = AlertView("disk_low", "critical", utc(NOW), "1 MB")
    full = AlertView("sessions", "warning", utc(1), "")

    def standing() -> list[AlertView]:
        found: AlertState = ask(path, queries.alert_state, 0)
        return found.alerts

    with opened(path) as file:
        file.write(alerts=[low, full])
        assert standing() == [full, low]
    with opened(path) as file:
        file.write()  # nobody has looked yet
        assert standing() == [full, low]
        file.write(alerts=[low])
        assert standing() == [low]
        file.write(alerts=[])
        assert standing() == []


def test_endings_are_recalled_and_events_read_by_their_numbers(path: Path) -> None:
    endings = [note(n, name="session.closing") for n in (1, 2, 3)]
    with opened(path) as file:
        file.write([], [*endings, note(4), note(9)])

    def between(after: int, before: int) -> list[int]:
        return [event.number for event in ask(path, queries.events_between, after, before)]

    assert ask(path, queries.alert_state, NOW + 2).endings == endings[1:]
    assert between(2, 9) == [3, 4]
    assert between(0, 100) == [1, 2, 3, 4, 9]
    assert between(9, 100) == []


def test_a_page_of_events_is_bounded(path: Path) -> None:
    with opened(path) as file:
        file.write([], [note(n) for n in range(1, 1002)])
    first = ask(path, queries.events_between, 0, 5000)
    assert [event.number for event in first] == [*range(1, 1001)]
    rest = ask(path, queries.events_between, 1000, 5000)
    assert [event.number for event in rest] == [1001]


def test_files_put_aside_do_not_gather(path: Path) -> None:
    for second in range(6):
        path.write_bytes(b"x")
        Path(f"{path}-wal").write_bytes(b"y")
        last = put_aside(path, NOW + second)
    names = sorted(file.name for file in path.parent.iterdir())
    assert len(names) == 3
    assert names[-1] == last.name == "journal.db.corrupt-20270115T080005.000000"
