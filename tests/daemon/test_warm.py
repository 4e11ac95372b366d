"""Chromes started ahead, with real Chrome: handed out once, frozen meanwhile, replaced."""

from __future__ import annotations

import concurrent.futures
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon, is_alive, wait_for


def _waiting(daemon: Daemon, state: str = "") -> list[dict[str, Any]]:
    """Chromes that wait for an owner; of one state."""
    sessions = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
    own = [s for s in sessions if s["owner"] == "pool" and not s["exit"]]
    return [s for s in own if s["state"] == (state or s["state"])]


def _status(daemon: Daemon) -> dict[str, Any]:
    status: dict[str, Any] = daemon.ask("GET", "/v1/status").json
    return status


def _wait_warm(daemon: Daemon, count: int = 1) -> list[dict[str, Any]]:
    """Waits until so many are ready, and frozen where that can be."""
    state = "frozen" if _status(daemon)["host"]["freezer"] else "ready"
    wait_for(lambda: _status(daemon)["warm"]["waiting"] >= count, "they have started")
    wait_for(lambda: len(_waiting(daemon, state)) >= count, f"they are {state}")
    return _waiting(daemon, state)


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Daemon]:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, warm_sessions=1) as daemon:
        yield daemon


def test_one_waits_takes_no_cpu_time_and_is_nobodys(warm: Daemon) -> None:
    waiting = _wait_warm(warm)[0]
    assert _status(warm)["sessions"]["now"] == 0
    assert warm.ask("GET", "/v1/sessions").json == {"sessions": []}
    if waiting["state"] == "frozen":
        before = warm.show(waiting["id"])["usage"]["cpu_s"]
        for _ in range(20):
            used = warm.show(waiting["id"])["usage"]["cpu_s"]
        assert used == before
    answer = warm.get(f"/sessions/{waiting['id']}/json/version")
    assert answer.status == 404
    assert warm.ask("POST", f"/v1/sessions/{waiting['id']}/keepalive").status == 404


def test_it_is_handed_out_and_replaced(warm: Daemon) -> None:
    waiting = _wait_warm(warm)[0]
    session = warm.new(labels={"job": "1"})
    assert session["warm"]
    assert (session["id"], session["pid"]) == (waiting["id"], waiting["pid"])
    assert (session["state"], session["labels"]) == ("ready", {"job": "1"})
    assert session["created_at"] > waiting["created_at"]

    async def drive() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            return await client.evaluate("6 * 7", page)

    assert run(drive()) == 42
    assert _wait_warm(warm)[0]["id"] != session["id"]


def test_it_is_never_handed_out_twice(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, warm_sessions=2, max_sessions=6) as daemon:
        _wait_warm(daemon, 2)
        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            sessions = list(threads.map(lambda _: daemon.new(), range(6)))
        assert len({s["pid"] for s in sessions}) == 6
        assert len({s["id"] for s in sessions}) == 6
        assert sum(s["warm"] for s in sessions) == 2
        assert len(daemon.chromes()) == 6


@pytest.mark.parametrize(
    "options",
    [
        {
            "viewport": {"width": 700, "height": 500},
            "user_agent": "Agent/7",
            "timezone": "Asia/Tokyo",
            "locale": "de-DE",
            "downloads": "allow",
            "idle_timeout_s": 60,
            "max_age_s": 600,
        },
        {"limits": {"memory_bytes": 200 << 20, "pids": 200, "cpu_cores": 1.0, "cpu_weight": 50}},
    ],
    ids=["emulation", "limits"],
)
def test_what_can_be_set_later_does_not_cost_the_warm_start(
    warm: Daemon, options: dict[str, Any]
) -> None:
    _wait_warm(warm)
    session = warm.new(**options)
    assert session["warm"]
    for name, value in options.get("limits", {}).items():
        assert session["limits"][name] == value
    if "limits" in options and session["limits"]["enforced"]:
        names = ("memory.limit_in_bytes", "memory.max")
        files = [leaf / name for leaf in warm.leaves() for name in names if (leaf / name).exists()]
        assert str(200 << 20) in {file.read_text().strip() for file in files}


def test_what_has_to_be_known_at_the_start_starts_cold(warm: Daemon) -> None:
    waiting = _wait_warm(warm)[0]
    options: list[dict[str, Any]] = [
        {"flags": ["--lang=fr"]},
        {"proxy": "http://127.0.0.1:1"},
        {"ignore_certificate_errors": True},
        {"profile": "kept"},
        {"limits": {"heap_bytes": 50_000_000}},
        {"limits": {"files": 1000}},
    ]
    for option in options:
        session = warm.new(**option)
        assert not session["warm"], option
        assert session["pid"] != waiting["pid"]
        assert warm.delete(session["id"]) == 204
    assert warm.show(waiting["id"])["owner"] == "pool"


def test_one_that_died_while_it_waited_is_replaced(warm: Daemon) -> None:
    first = _wait_warm(warm)[0]
    process = psutil.Process(first["pid"])
    for folder in (leaf for leaf in warm.leaves() if (leaf / "freezer.state").exists()):
        (folder / "freezer.state").write_text("THAWED")  # v1: what is frozen cannot even die
    process.kill()
    ended = warm.wait_ended(first["id"])
    assert (ended["exit"]["reason"], ended["owner"]) == ("crashed", "pool")
    assert _wait_warm(warm)[0]["id"] != first["id"]
    assert warm.new()["warm"]


def test_one_that_does_not_answer_is_found_when_it_is_woken(warm: Daemon) -> None:
    hung = _wait_warm(warm)[0]
    os.kill(hung["pid"], signal.SIGSTOP)
    session = warm.new()
    assert not session["warm"]
    assert session["id"] != hung["id"]
    assert warm.wait_ended(hung["id"])["exit"]["reason"] == "unhealthy"


def test_an_option_that_chrome_refuses_is_told_and_costs_no_place(warm: Daemon) -> None:
    _wait_warm(warm)
    answer = warm.ask("POST", "/v1/sessions", {"timezone": "Moon/Crater"})
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert "timezone" in answer.json["detail"]
    wait_for(lambda: _status(warm)["sessions"]["now"] == 0, "its place is free")


def test_it_makes_room_for_a_session_that_it_does_not_suit(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, warm_sessions=1, max_sessions=1) as daemon:
        waiting = _wait_warm(daemon)[0]
        session = daemon.new(flags=["--lang=fr"])
        assert not session["warm"]
        assert daemon.wait_ended(waiting["id"])["exit"]["reason"] == "drained"
        refused = daemon.ask("POST", "/v1/sessions")
        assert (refused.status, refused.json["code"]) == (503, "pool_full")
        daemon.delete(session["id"])
        assert _wait_warm(daemon)[0]["id"] not in (waiting["id"], session["id"])


def test_an_administrator_can_end_it(warm: Daemon) -> None:
    first = _wait_warm(warm)[0]
    assert warm.delete(first["id"]) == 204
    assert warm.show(first["id"])["exit"]["reason"] == "deleted"
    assert _wait_warm(warm)[0]["id"] != first["id"]


def test_nothing_frozen_outlives_a_killed_daemon(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = Daemon(tmp_path, warm_sessions=2).start()
    _wait_warm(daemon, 2)
    processes = psutil.Process(daemon.pid).children(recursive=True)
    assert len(processes) > 10
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not [p for p in processes if is_alive(p)], "every process of it is dead")
    with Daemon(tmp_path, warm_sessions=0):
        """It clears away the folders and groups."""


def test_the_guardian_is_replaced_when_it_is_killed(warm: Daemon) -> None:
    if not warm.guardians():
        pytest.skip("nothing is frozen here: no guardian is needed")
    first = warm.guardians()[0]
    first.kill()
    wait_for(lambda: [g for g in warm.guardians() if g.pid != first.pid], "another one watches")
    assert warm.new()["state"] == "ready"


def test_the_next_gateway_has_those_that_the_one_before_started_ahead(warm: Daemon) -> None:
    first = _wait_warm(warm)[0]
    warm.gateway.kill()
    wait_for(lambda: warm.text.count("chromepool is ready") == 2, "another gateway serves")
    again = _wait_warm(warm)[0]
    assert (again["pid"], again["id"]) == (first["pid"], first["id"])
    session = warm.new()
    assert (session["id"], session["warm"]) == (first["id"], True)
