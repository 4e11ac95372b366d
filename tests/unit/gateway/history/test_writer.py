"""The history's writer: sessions continue whatever becomes of the disk and of the file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chromepool.errors import HistoryUnavailable
from chromepool.gateway.history import database as databases
from chromepool.gateway.history import queries
from chromepool.gateway.history import writer as writers
from chromepool.gateway.history.database import Database
from chromepool.gateway.history.queries import AlertState, HistoryQuery
from chromepool.gateway.history.writer import HistoryWriter
from testing.history import (
    NEWER,
    NOW,
    Clock,
    events,
    kept,
    life,
    meta,
    note,
    opened,
    over,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


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
