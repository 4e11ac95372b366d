"""The command line against a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon
from testing.daemon_pool import Daemons


def _chromepool(runtime_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "chromepool.cli.main", "--runtime-dir", str(runtime_dir), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def _said(daemon: Daemon, *words: str) -> str:
    done = _chromepool(daemon.runtime_dir, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_url_is_what_a_client_connects_to(shared_daemon: Daemon, session: dict[str, Any]) -> None:
    assert _said(shared_daemon, "url", session["id"]).strip() == session["webSocketDebuggerUrl"]
    fresh = _said(shared_daemon, "url", "--label", "job=nightly").strip()

    async def drive() -> str:
        async with connect(fresh) as client:
            product: str = (await client.call("Browser.getVersion"))["product"]
            return product

    assert "Chrome" in run(drive())


def test_new_ls_show_rm(shared_daemon: Daemon, session: dict[str, Any]) -> None:
    made = json.loads(_said(shared_daemon, "new", "--json", "--label", "job=nightly"))
    assert made["labels"] == {"job": "nightly"}
    listed = json.loads(_said(shared_daemon, "ls", "--json"))
    assert {made["id"], session["id"]} <= {one["id"] for one in listed}
    table = _said(shared_daemon, "ls")
    assert made["id"] in table
    assert "job=nightly" in table
    assert made["webSocketDebuggerUrl"] in _said(shared_daemon, "show", made["id"])
    assert json.loads(_said(shared_daemon, "show", "--json", made["id"]))["state"] == "ready"
    assert _said(shared_daemon, "rm", made["id"]).split() == [made["id"]]
    assert made["id"] not in _said(shared_daemon, "ls")
    assert "closed (deleted)" in _said(shared_daemon, "ls", "--all")
    assert _said(shared_daemon, "rm", "--all").split() == [session["id"]]


def test_a_label_is_no_markup_and_no_terminal_code(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    made = shared_daemon.new(labels={"a": "[/b]\x1b[31m"})
    assert "a=[/b][31m" in _said(shared_daemon, "ls")
    assert shared_daemon.delete(made["id"]) == 204


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "0"), "There is no session"),
        (("rm", "0"), "There is no session"),
        (("rm",), "Name a session"),
        (("new", "--label", "x"), "is not NAME=VALUE"),
        (("new", "--memory-bytes", "1"), "memory_bytes"),
        (("serve", "--max-sessions", "0"), "--max-sessions"),
    ],
)
def test_errors_are_a_sentence(shared_daemon: Daemon, words: tuple[str, ...], said: str) -> None:
    done = _chromepool(shared_daemon.runtime_dir, *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_health_is_the_daemons_answer(shared_daemon: Daemon) -> None:
    assert json.loads(_said(shared_daemon, "health")) == {"status": "ok"}
    assert json.loads(_said(shared_daemon, "health", "--ready")) == {"status": "ready"}


def test_health_is_not_readiness(daemons: Daemons) -> None:
    daemon = daemons(max_sessions=1)
    daemon.new()
    full = _chromepool(daemon.runtime_dir, "health", "--ready")
    assert full.returncode == 1
    assert json.loads(full.stdout)["code"] == "pool_full"
    assert _chromepool(daemon.runtime_dir, "health").returncode == 0


def test_events_are_lines_of_json_from_where_they_were(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    words = ["--runtime-dir", str(shared_daemon.runtime_dir), "events", "--after"]

    def follow(after: int, name: str) -> list[dict[str, Any]]:
        """What it prints, to the first event of this name."""
        argv = [sys.executable, "-m", "chromepool.cli.main", *words, str(after)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            killer = threading.Timer(120, process.kill)
            killer.start()
            told = list[dict[str, Any]]()
            assert process.stdout is not None
            for line in process.stdout:
                told.append(json.loads(line))
                if told[-1]["name"] == name and told[-1].get("session_id") == session["id"]:
                    break
            killer.cancel()
            process.terminate()
        return told

    created = follow(1, "session.created")[-1]
    assert created["owner"] == session["owner"]
    shared_daemon.delete(session["id"])
    later = follow(created["number"], "session.closed")
    assert later[0]["number"] == created["number"] + 1
    assert [event["name"] for event in later] == ["session.closing", "session.closed"]
