"""The journal: what it keeps and lets go of, and that sessions go on whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from chromepool.errors import ConfigError, HistoryUnavailable
from chromepool.gateway.event_stream import Event
from chromepool.gateway.history import database as databases
from chromepool.gateway.history import queries
from chromepool.gateway.history import writer as writers
from chromepool.gateway.history.database import MIGRATIONS, Database, put_aside
from chromepool.gateway.history.queries import AlertState, HistoryQuery
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.schema.admin import AlertView
from chromepool.schema.history import LOST, PastEvent, PastSession
from testing import ROOT
from testing.daemon import Daemon, Misbehaving, wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, and other uids")
DAY = 86400.0
NOW = 1_800_000_000.0
NEWER = (*MIGRATIONS, "CREATE TABLE extra (a)")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Instead of pytest's, whose folders only root may pass: the gateway opens the file itself."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="chromepool-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


# -- the file --


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


# -- the task --


def using(path: Path, work: Callable[[HistoryWriter], Awaitable[None]]) -> None:
    """Runs a test with a writer, which is started before and closed after."""

    async def main() -> None:
        writer = HistoryWriter(Database(path, 1000, 30.0, Clock()))
        await writer.start()
        try:
            await work(writer)
        finally:
            await writer.close(10)

    asyncio.run(main())


async def until(condition: Callable[[], object], why: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, why
        await asyncio.sleep(0.01)


def settled(writer: HistoryWriter) -> Callable[[], bool]:
    return lambda: not writer.waiting and not writer.error


async def found_by(writer: HistoryWriter, **asked: Any) -> list[int]:
    page = await writer.read(queries.find_sessions, HistoryQuery(**asked))
    return [int(found.id, 16) for found in page.sessions]


def test_it_is_written_and_closed(path: Path) -> None:
    async def work(writer: HistoryWriter) -> None:
        for number in range(500):
            writer.put_session(over(number))
            writer.add_event(note(number))

    using(path, work)
    assert len(kept(path, limit=1000)) == len(events(path)) == 500


def test_events_are_numbered_on(path: Path) -> None:
    async def main() -> None:
        first = HistoryWriter(Database(path, 1000, 30.0, Clock()))
        assert await first.start() == 0
        first.add_event(note(41))
        await first.close(10)
        assert first.waiting == 0
        second = HistoryWriter(Database(path, 1000, 30.0, Clock()))
        assert await second.start() == 41
        await second.close(10)
        assert meta(path)["starts"] == 2
        # killed: it may have told of events that it did not write
        killed = HistoryWriter(Database(path, 1000, 30.0, Clock()))
        assert await killed.start() == 41
        killed.add_event(note(50))
        await until(settled(killed), "it is written")
        assert meta(path)["last_event"] >= 50 + writers._MAX_EVENTS
        await killed.close(10)

    asyncio.run(main())


def test_garbage_is_put_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"this is no database, but long enough to be looked at" * 100)

    async def work(writer: HistoryWriter) -> None:
        writer.put_session(over(1))
        await until(lambda: [*path.parent.glob("*.corrupt-*")], "it is put aside")
        await until(settled(writer), "a new one is begun")

    using(path, work)
    assert kept(path) == [1]
    aside = [file for file in path.parent.iterdir() if ".corrupt-" in file.name]
    assert len(aside) == 1
    assert aside[0].read_bytes().startswith(b"this is no database")
    assert "journal.put_aside" in caplog.text


def break_pages(path: Path) -> None:
    """All but the head of the file, and nothing in a log that would mend it."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_one_that_breaks_while_it_is_used_is_put_aside(path: Path) -> None:
    async def work(writer: HistoryWriter) -> None:
        for number in range(200):
            writer.put_session(over(number))
        await until(settled(writer), "it is written")
        break_pages(path)
        with pytest.raises(HistoryUnavailable, match="cannot be read"):
            await found_by(writer)
        await until(lambda: [*path.parent.glob("*.corrupt-*")], "it is put aside")
        writer.put_session(over(1000))
        await until(lambda: path.exists() and settled(writer)(), "a new one is begun")
        assert await found_by(writer) == [1000]

    using(path, work)


def test_a_newer_schema_turns_it_off(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(path, migrations=NEWER) as file:
        file.write()

    async def work(writer: HistoryWriter) -> None:
        await until(lambda: writer.error, "it has said so")
        writer.put_session(over(1))
        assert writer.waiting == 0
        assert caplog.text.count("journal.off") == 1
        with pytest.raises(HistoryUnavailable, match="newer chromepool"):
            await found_by(writer)

    using(path, work)


def test_a_lock_holds_up_nobody(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_S", 0.05)

    async def work(writer: HistoryWriter) -> None:
        await until(settled(writer), "it is open")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            for number in range(writers._MAX_SESSIONS + 3):
                writer.put_session(over(number))
            for number in range(writers._MAX_EVENTS + 4):
                writer.add_event(note(number))
            assert time.monotonic() - began < 5
            await until(lambda: "locked" in writer.error, "the error is said")
            assert writer.waiting == writers._MAX_SESSIONS + writers._MAX_EVENTS
            assert writer.dropped == 7
            db.execute("ROLLBACK")
        await until(settled(writer), "it is written")
        assert await found_by(writer, limit=1) == [writers._MAX_SESSIONS + 2]

    using(path, work)
    assert events(path)[-1] == writers._MAX_EVENTS + 3
    assert caplog.text.count("journal.unwritable") == 1
    assert caplog.text.count("journal.writable") == 1


def test_a_fault_in_one_batch_is_not_the_end(path: Path) -> None:
    async def work(writer: HistoryWriter) -> None:
        writer.put_session(life(1, owner=None))  # type: ignore[arg-type]
        await until(lambda: writer.dropped == 1, "it is given up")
        writer.put_session(life(2))
        await until(settled(writer), "it is written")
        assert await found_by(writer) == [2]

    using(path, work)


class HangingDisk(Database):
    """A database that is written when the test says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 1000, 30.0, Clock())
        self.asked = threading.Event()
        self.goes_on = threading.Event()

    def write(self, *args: Any, **named: Any) -> None:
        self.asked.set()
        self.goes_on.wait(60)
        super().write(*args, **named)


def test_closing_does_not_wait_for_a_disk_that_hangs(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_OPEN_S", 0.05)

    async def main() -> None:
        disk = HangingDisk(path)
        writer = HistoryWriter(disk)
        try:
            assert await writer.start() == 0
            assert "journal.late" in caplog.text
            writer.put_session(life(1))
            assert disk.asked.is_set()
            await writer.close(0.05)
            assert writer.waiting == 1
            assert "journal.unfinished" in caplog.text
        finally:
            disk.goes_on.set()
            await writer.close(10)
        assert writer.waiting == 0

    asyncio.run(main())
    assert kept(path) == [1]


def test_what_was_given_up_while_it_was_written_is_not_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_OPEN_S", 0.05)
    monkeypatch.setattr(writers, "_MAX_EVENTS", 3)

    async def main() -> None:
        disk = HangingDisk(path)
        disk.goes_on.set()
        writer = HistoryWriter(disk)
        await writer.start()
        disk.goes_on.clear()
        disk.asked.clear()
        for number in (1, 2, 3):
            writer.add_event(note(number))
        await until(disk.asked.is_set, "they are being written")
        for number in (4, 5):
            writer.add_event(note(number))
        assert (writer.waiting, writer.dropped) == (3, 2)
        disk.goes_on.set()
        await until(settled(writer), "they are written")
        assert writer.dropped == 0
        await writer.close(10)

    asyncio.run(main())
    assert events(path) == [1, 2, 3, 4, 5]


def test_the_process_does_not_wait_for_a_disk_that_hangs(path: Path) -> None:
    program = f"""
import asyncio, pathlib, time
from chromepool.gateway.history import database, writer
database.Database.write = lambda *_: time.sleep(60)
writer._OPEN_S = 0.05
async def main():
    journal = writer.HistoryWriter(database.Database(pathlib.Path({str(path)!r}), 1, 1.0))
    await journal.start()
    try:
        async with asyncio.timeout(0.05):
            await journal.read(lambda db: time.sleep(60))
    except TimeoutError:
        pass
    await journal.close(0.05)
path = pathlib.Path({str(path)!r})
path.touch()
asyncio.run(main())
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
    assert time.monotonic() - began < 40


def test_the_event_loop_goes_on_while_the_disk_is_slow(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*_: object) -> dict[str, Any]:
        time.sleep(0.5)
        raise sqlite3.OperationalError("disk I/O error")

    async def work(writer: HistoryWriter) -> None:
        monkeypatch.setattr(Database, "write", slowly)
        monkeypatch.setattr(queries, "connect", slowly)
        longest = 0.0
        reading = asyncio.gather(*(found_by(writer) for _ in range(3)), return_exceptions=True)
        while not (writer.error and reading.done()):
            began = time.monotonic()
            writer.add_event(note(1))
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
        assert longest < 0.4
        monkeypatch.undo()
        await until(settled(writer), "it is written")

    using(path, work)


def test_only_so_many_ask_at_once(path: Path) -> None:
    answers = threading.Event()

    async def work(writer: HistoryWriter) -> None:
        waiting = [
            asyncio.create_task(writer.read(lambda _: answers.wait(60)))
            for _ in range(writers._MAX_QUERIES)
        ]
        await until(lambda: not writer._queries._value, "they ask")
        for task in waiting[:3]:  # their threads go on, and count
            task.cancel()
        with pytest.raises(HistoryUnavailable, match="busy"):
            await found_by(writer)
        answers.set()
        assert await asyncio.gather(*waiting[3:]) == [True] * len(waiting[3:])
        await until(lambda: writer._queries._value == len(waiting), "they have answers")
        assert await found_by(writer) == []

    using(path, work)


def test_a_gateway_does_not_wait_for_what_a_disk_that_hangs_would_tell(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(writers, "alert_state", lambda *_: hangs.wait(60))
    monkeypatch.setattr(writers, "_RECALL_S", 0.05)

    async def work(writer: HistoryWriter) -> None:
        try:
            assert await writer.alert_state(NOW) == AlertState([], [])
        finally:
            hangs.set()

    using(path, work)
    assert "journal.not_recalled" in caplog.text


# -- the daemon --


def journal_file(daemon: Daemon) -> Path:
    return daemon.state_dir / "journal" / "journal.db"


def status(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.ask("GET", "/v1/status").json["journal"]
    return found


def history(daemon: Daemon, query: str = "") -> list[dict[str, Any]]:
    answer = daemon.ask("GET", f"/v1/history?{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["sessions"]
    return found


def recorded(daemon: Daemon, session_id: str) -> dict[str, Any]:
    """A session's entry once its end is in it."""

    def find() -> dict[str, Any] | None:
        answer = daemon.ask("GET", f"/v1/history/{session_id}")  # 503 while it is not open
        return answer.json if answer.status == 200 and answer.json["ended_at"] else None

    entry: dict[str, Any] = wait_for(find, "it is in the journal")
    return entry


def test_a_session_is_in_the_history(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new(labels={"job": "7"})
        wait_for(lambda: history(daemon), "it is there while it runs")
        assert history(daemon)[0]["ended_at"] is None
        assert daemon.delete(session["id"]) == 204
        entry = recorded(daemon, session["id"])
        assert entry["labels"] == {"job": "7"}
        assert entry["owner"] == session["owner"]
        assert entry["reason"] == "deleted"
        assert entry["limits"]["pids"] == session["limits"]["pids"]
        assert entry["usage"]["cdp_messages_in"] == 0
        assert entry["exit"]["code"] == 0
        assert entry["created_at"][:16] == session["created_at"][:16]
        whole = daemon.ask("GET", f"/v1/history/{session['id']}").json
        names = [event["name"] for event in whole["events"]]
        assert names == ["session.created", "session.closing", "session.closed"]
        folder = journal_file(daemon).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert journal_file(daemon).stat().st_mode & 0o077 == 0
        assert folder.stat().st_uid == daemon.gateway.uids().real
        assert status(daemon) == {"enabled": True, "error": "", "waiting": 0, "dropped": 0}


def test_off_means_off(misbehaving: Misbehaving) -> None:
    with misbehaving(journal=False) as daemon:
        assert daemon.delete(daemon.new()["id"]) == 204
        answer = daemon.ask("GET", "/v1/history")
        assert (answer.status, answer.json["code"]) == (503, "history_unavailable")
        assert status(daemon)["enabled"] is False
        assert not journal_file(daemon).parent.exists()


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="chromepool-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def pages(reachable: Path) -> Iterator[Daemon]:
    """Five sessions over, the fourth of which crashed."""
    program = reachable / "fake-headless-chrome"
    shutil.copy(ROOT / "testing/misbehaving_chrome.py", program)
    program.chmod(0o755)
    (reachable / "faults").write_text("")
    tokens = reachable / "tokens"
    tokens.write_text("ci 0123456789abcdef\nnightly fedcba9876543210\n")
    tokens.chmod(0o600)
    (reachable / "daemon").mkdir()
    with Daemon(
        reachable / "daemon", chrome=program, tokens_file=tokens, control_tcp=True
    ) as daemon:
        for number in range(5):
            session = daemon.new(labels={"n": str(number)})
            if number == 3:
                daemon.chromes()[0].kill()
                daemon.wait_ended(session["id"])
            assert daemon.delete(session["id"]) == 204
            recorded(daemon, session["id"])
        yield daemon


def numbers(sessions: list[dict[str, Any]]) -> list[int]:
    return [int(session["labels"]["n"]) for session in sessions]


def test_pages(pages: Daemon) -> None:
    assert numbers(history(pages)) == [4, 3, 2, 1, 0]
    seen, after = [], ""
    while True:
        answer = pages.ask("GET", f"/v1/history?limit=2{after}").json
        seen.append(numbers(answer["sessions"]))
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"
    assert seen == [[4, 3], [2, 1], [0]]
    assert pages.ask("GET", "/v1/history?limit=5").json["next"] is None


def test_filters(pages: Daemon) -> None:
    assert numbers(history(pages, "reason=crashed")) == [3]
    assert history(pages, "reason=max_age") == []
    assert numbers(history(pages, "since=1h")) == [4, 3, 2, 1, 0]
    assert history(pages, "since=0s") == []
    owner = history(pages)[0]["owner"]
    assert len(history(pages, f"owner={owner}")) == 5
    assert history(pages, "owner=uid:4242") == []


@pytest.mark.parametrize(
    "query",
    [
        "since=2",
        "since=2y",
        "since=-2h",
        "since=",
        "reason=boredom",
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=x",
        "after=-1",
        "owner=%20",
        "owner=%ff",
        "since=%D9%A3h",
    ],
)
def test_bad_questions(pages: Daemon, query: str) -> None:
    answer = pages.ask("GET", f"/v1/history?{query}")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_each_sees_their_own(pages: Daemon) -> None:
    ci = {"Authorization": "Bearer 0123456789abcdef"}
    nightly = {"Authorization": "Bearer fedcba9876543210"}
    made = pages.get("/v1/sessions", "POST", ci).json["id"]
    try:
        wait_for(lambda: len(history(pages, "owner=token:ci")) == 1, "it is there")
        for headers, expected in ((ci, [made]), (nightly, [])):
            found = pages.get("/v1/history", headers=headers).json["sessions"]
            assert [session["id"] for session in found] == expected
        asked = pages.get("/v1/history?owner=token:ci", headers=nightly)
        assert asked.json == {"sessions": [], "next": None}
        assert pages.get(f"/v1/history/{made}", headers=ci).status == 200
        assert pages.get(f"/v1/history/{made}", headers=nightly).status == 404
        assert pages.get("/v1/history").status == 401
        assert pages.ask("GET", f"/v1/history/{made}").status == 200
        for nonsense in ("0", "%ff", "x" * 100):
            assert pages.ask("GET", f"/v1/history/{nonsense}").status == 404
    finally:
        assert pages.delete(made) == 204


def chromepool(daemon: Daemon, *words: str) -> str:
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(daemon.runtime_dir)]
    done = subprocess.run([*argv, *words], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_command_line(pages: Daemon) -> None:
    mine = history(pages, "reason=crashed")[0]
    listed = json.loads(
        chromepool(pages, "history", "--since", "2h", "--reason", "crashed", "--json")
    )
    assert [session["id"] for session in listed] == [mine["id"]]
    table = chromepool(pages, "history", "--reason", "crashed")
    assert mine["id"] in table
    assert "n=3" in table
    assert len(chromepool(pages, "history", "--limit", "1").splitlines()) == 2
    shown = chromepool(pages, "history", mine["id"])
    assert "SIGKILL" in shown
    assert "session.closed" in shown
    whole = json.loads(chromepool(pages, "history", mine["id"], "--json"))
    assert whole["events"][0]["name"] == "session.created"


def test_two_hundred_fast_sessions_are_all_recorded(misbehaving: Misbehaving) -> None:
    with misbehaving(max_sessions=20) as daemon:

        def live_and_die(number: int) -> str:
            session_id: str = daemon.new(labels={"n": str(number)})["id"]
            assert daemon.delete(session_id) == 204
            return session_id

        with ThreadPoolExecutor(8) as pool:
            made = set(pool.map(live_and_die, range(200)))
        assert len(made) == 200
        found = wait_for(
            lambda: (
                all(one["ended_at"] for one in history(daemon, "limit=1000"))
                and history(daemon, "limit=1000")
            ),
            "all ends are written",
        )
        assert {session["id"] for session in found} == made
        assert {session["reason"] for session in found} == {"deleted"}
        assert status(daemon)["dropped"] == 0


def test_history_outlives_a_killed_daemon(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        first, second = daemon.new()["id"], daemon.new()["id"]
        assert daemon.delete(first) == 204
        recorded(daemon, first)
        wait_for(lambda: len(history(daemon)) == 2, "both are written")
        before = daemon.process
        os.kill(daemon.pid, signal.SIGKILL)
        before.wait()
        daemon._reader.join(60)
        daemon.log.clear()
        daemon.start()
        found = {session["id"]: session["reason"] for session in history(daemon)}
        assert found == {first: "deleted", second: "lost"}
        assert daemon.ask("GET", "/v1/sessions?all=1").json["sessions"] == []
        third = daemon.new()["id"]
        assert daemon.delete(third) == 204
        assert recorded(daemon, third)["reason"] == "deleted"


def end_gateway(daemon: Daemon) -> None:
    """SIGKILL; another one answers when this returns."""
    old = daemon.gateway
    old.kill()
    wait_for(lambda: daemon.gateway.pid != old.pid, "another one runs")
    wait_for(lambda: daemon.ask("GET", "/healthz").status == 200, "it answers")


def test_events_are_numbered_on_when_the_gateway_is_started_again(
    misbehaving: Misbehaving,
) -> None:
    with misbehaving() as daemon:
        last = 0
        for _ in range(2):
            session_id = daemon.new()["id"]
            assert daemon.delete(session_id) == 204
            recorded(daemon, session_id)
            told = daemon.ask("GET", f"/v1/history/{session_id}").json["events"]
            assert told[0]["number"] > last
            last = told[-1]["number"]
            end_gateway(daemon)


def test_a_locked_journal_holds_up_neither_sessions_nor_the_api(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        recorded_first = daemon.new()["id"]
        assert daemon.delete(recorded_first) == 204
        recorded(daemon, recorded_first)
        with contextlib.closing(sqlite3.connect(journal_file(daemon), isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            made = []
            took = []
            while not status(daemon)["error"]:
                began = time.monotonic()
                made.append(daemon.new()["id"])
                assert daemon.delete(made[-1]) == 204
                assert daemon.ask("GET", "/healthz").status == 200
                took.append(time.monotonic() - began)
            assert statistics.median(took) < 1.0  # whoever waits for the lock waits two seconds
            assert "locked" in status(daemon)["error"]
            assert status(daemon)["waiting"] > 0
            db.execute("ROLLBACK")
        for session_id in made:
            recorded(daemon, session_id)
        wait_for(lambda: not status(daemon)["error"], "it is said that all is well")
        assert status(daemon)["dropped"] == 0
        assert daemon.text.count("journal.unwritable") == 1


def test_a_newer_journal_is_left_alone(misbehaving: Misbehaving) -> None:
    daemon = misbehaving()
    folder = journal_file(daemon).parent
    folder.mkdir(parents=True)
    with opened(folder / "journal.db", migrations=NEWER) as file:
        file.write([over(1)])
    with daemon:
        assert daemon.delete(daemon.new()["id"]) == 204
        wait_for(lambda: "newer chromepool" in status(daemon)["error"], "it is said")
        answer = daemon.ask("GET", "/v1/history")
        assert (answer.status, answer.json["code"]) == (503, "history_unavailable")
        wait_for(lambda: daemon.text.count("newer chromepool") == 1, "in the log, too")
    assert kept(folder / "journal.db") == [1]


@needs_root
def test_a_journal_of_another_gateway_uid_is_taken_over(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        first = daemon.new()["id"]
        assert daemon.delete(first) == 204
        recorded(daemon, first)
        stranger = daemon.state_dir / "journal" / "stranger"
        stranger.write_text("root's own")
    with misbehaving() as daemon:  # the test's daemons have uids of their own each
        assert [session["id"] for session in history(daemon)] == [first]
        assert journal_file(daemon).stat().st_uid == daemon.gateway.uids().real
        assert stranger.stat().st_uid == 0


# -- disks --


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "chromepool-test", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leaves not a byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


@needs_root
def test_a_full_disk_stops_no_session_and_what_waited_is_written(misbehaving: Misbehaving) -> None:
    daemon = misbehaving()
    with mounted(journal_file(daemon).parent, "size=1m") as folder, daemon:
        first = daemon.new()["id"]
        assert daemon.delete(first) == 204
        recorded(daemon, first)
        ballast = fill(folder)
        made = []
        while not status(daemon)["error"]:
            made.append(daemon.new(labels={"big": "x" * 200})["id"])
            assert daemon.delete(made[-1]) == 204
        assert "full" in status(daemon)["error"]
        wait_for(lambda: "journal.unwritable" in daemon.text, "in the log, too")
        assert daemon.delete(daemon.new()["id"]) == 204
        ballast.unlink()
        for session_id in made:
            recorded(daemon, session_id)
        wait_for(lambda: not status(daemon)["error"], "it is said that all is well")
        assert recorded(daemon, first)["reason"] == "deleted"
        assert status(daemon)["dropped"] == 0
        assert daemon.text.count("journal.unwritable") == 1


@needs_root
def test_a_disk_that_is_full_from_the_start(misbehaving: Misbehaving) -> None:
    daemon = misbehaving()
    with mounted(journal_file(daemon).parent, "size=1m") as folder:
        ballast = fill(folder)
        with daemon:
            made = daemon.new()["id"]
            assert daemon.delete(made) == 204
            wait_for(lambda: status(daemon)["error"], "the error is said")
            ballast.unlink()
            assert recorded(daemon, made)["reason"] == "deleted"


@needs_root
def test_a_folder_that_cannot_be_written_to(misbehaving: Misbehaving) -> None:
    daemon = misbehaving()
    with mounted(journal_file(daemon).parent, "ro,size=1m") as folder, daemon:
        made = daemon.new()["id"]
        assert daemon.delete(made) == 204
        wait_for(lambda: status(daemon)["error"], "the error is said")
        wait_for(lambda: "journal.unwritable" in daemon.text, "in the log, too")
        assert daemon.ask("GET", "/v1/history").status == 503
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        folder.chmod(0o777)
        assert recorded(daemon, made)["reason"] == "deleted"


def test_a_damaged_journal_is_put_aside_by_the_daemon(misbehaving: Misbehaving) -> None:
    daemon = misbehaving()
    folder = journal_file(daemon).parent
    folder.mkdir(parents=True)
    (folder / "journal.db").write_bytes(b"no database at all, and long enough for that" * 200)
    with daemon:
        made = daemon.new()["id"]
        assert daemon.delete(made) == 204
        assert recorded(daemon, made)["reason"] == "deleted"
        assert len([*folder.glob("journal.db.corrupt-*")]) == 1
        wait_for(lambda: "journal.put_aside" in daemon.text, "it is said")
