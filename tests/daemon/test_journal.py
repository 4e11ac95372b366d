"""The history of a real daemon, whatever becomes of its file and its disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testing import ROOT
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.history import (
    NEWER,
    kept,
    opened,
    over,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, and other uids")


@pytest.fixture
def tmp_path(folder: Path) -> Path:
    """Instead of pytest's, whose folders only root may pass: the gateway opens the file itself."""
    return folder


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
