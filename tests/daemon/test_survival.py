"""What is left of a pool that is in use, after its gateway was killed, replaced or told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.chaos.clients import half_open
from chromepool.supervisor.chrome import command_line as chrome
from testing.cdp import connect, run
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.drivers import Driver, calling, driving
from testing.handover import kill_gateway, reload, serving, states, wait_taken_over
from testing.stubborn import stubborn_chrome

_ROOM: dict[str, object] = {"max_sessions": 10, "pool_memory_bytes": "4GiB"}


def _came_back(drivers: list[Driver]) -> None:
    """Each has had an answer since this was called."""
    answers = [driver.answers for driver in drivers]
    wait_for(
        lambda: all(d.answers > n + 1 for d, n in zip(drivers, answers, strict=True)),
        "all are driven",
    )


def test_ten_driven_sessions_are_all_adopted(folder: Path) -> None:
    with Daemon(folder, **_ROOM) as daemon:
        sessions = [daemon.new() for _ in range(10)]
        with driving(sessions, 0.05) as drivers:
            for _ in range(2):
                kill_gateway(daemon)
                _came_back(drivers)
        assert states(daemon) == ["ready"] * 10
        pids = [session["pid"] for session in sessions]
        assert sorted(process.pid for process in daemon.chromes()) == sorted(pids)
        assert [driver.gone for driver in drivers] == [""] * 10
        assert sum(driver.refused for driver in drivers) == 0


def test_ten_reloads_under_load_cost_nobody_anything(folder: Path) -> None:
    with Daemon(folder, **_ROOM) as daemon:
        sessions = [daemon.new() for _ in range(4)]
        with driving(sessions) as drivers, calling(daemon) as callers:
            for _ in range(10):
                reload(daemon)
                _came_back(drivers)
        assert states(daemon) == ["ready"] * 4
        assert [failure for caller in callers for failure in caller.failures] == []
        assert sum(driver.refused for driver in drivers) == 0
        for driver in drivers:
            assert not driver.gone
            assert set(driver.closes) == {1012}


def test_a_stop_leaves_nothing_of_chromes_that_do_not_listen(folder: Path) -> None:
    """Two that ignore everything but SIGKILL, and a client in the middle of a message."""
    with (
        stubborn_chrome(chrome.find(""), 2) as program,
        Daemon(folder, chrome=program, **_ROOM) as daemon,
    ):
        sessions = [daemon.new() for _ in range(5)]
        with half_open(daemon, sessions[-1]):
            assert daemon.stop() == 0


def test_an_end_that_a_hung_gateway_was_told_is_told_the_next_one(folder: Path) -> None:
    """It has it on its wire when it is killed, and has read none of it."""
    with Daemon(folder, heartbeat_timeout_s=3) as daemon:
        session = daemon.new()
        before = serving(daemon)
        daemon.gateway.suspend()
        os.kill(session["pid"], signal.SIGKILL)
        wait_for(lambda: not daemon.profiles(), "nothing of it is left")
        wait_taken_over(daemon, before)
        ended = daemon.wait_ended(session["id"])
        assert (ended["exit"]["reason"], ended["exit"]["signal"]) == ("crashed", "SIGKILL")
        path = f"/v1/history/{session['id']}"
        wait_for(lambda: daemon.ask("GET", path).json.get("reason") == "crashed", "it is kept")


def test_what_is_buried_is_not_told_again(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        daemon.show(session["id"])  # answered by the supervisor, after it has taken the snapshot
        files = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        assert daemon.delete(session["id"]) == 204
        wait_for(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) < files - 3, "it is forgotten")
        kill_gateway(daemon)
        assert daemon.ask("GET", f"/v1/sessions/{session['id']}").status == 404


def test_many_hangups_at_once_and_then_a_stop(folder: Path) -> None:
    with Daemon(folder) as daemon:
        daemon.new()
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            daemon.process.send_signal(number)


def test_two_hangups_replace_the_gateway_and_lose_nobody(folder: Path) -> None:
    with Daemon(folder) as daemon:
        session, before = daemon.new(), serving(daemon)
        for _ in range(2):
            daemon.process.send_signal(signal.SIGHUP)
        wait_taken_over(daemon, before)
        assert daemon.show(session["id"])["state"] == "ready"
        reload(daemon)
        assert daemon.show(session["id"])["state"] == "ready"


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_gateway_that_dies_during_a_creation_leaves_nothing_half_made(
    folder: Path, after_s: float
) -> None:
    with Daemon(folder) as daemon:
        asking = threading.Thread(target=_ask_quietly, args=(daemon,))
        asking.start()
        threading.Event().wait(after_s)  # any moment will do: there is nothing to wait for
        kill_gateway(daemon)
        asking.join()
        wait_for(
            lambda: len(daemon.chromes()) == len(states(daemon)) == len(daemon.profiles()),
            "there is a Chrome for each session, and nothing else",
        )
        assert set(states(daemon)) <= {"ready"}
        assert daemon.new()["state"] == "ready"


def _ask_quietly(daemon: Daemon) -> None:
    try:
        daemon.ask("POST", "/v1/sessions", {"timezone": "Asia/Tokyo"})
    except OSError:
        return  # its gateway was killed


@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.6, 0.7])
def test_a_gateway_that_dies_while_it_hands_over_or_adopts_loses_nobody(
    folder: Path, after_s: float
) -> None:
    """Whichever of the two there are at that moment: all of them are killed."""
    with Daemon(folder) as daemon:
        sessions = [daemon.new() for _ in range(3)]
        before = serving(daemon)
        daemon.process.send_signal(signal.SIGHUP)
        threading.Event().wait(after_s)  # any moment will do
        daemon.gateway.kill()
        wait_taken_over(daemon, before)
        assert states(daemon) == ["ready"] * 3
        assert {s["pid"] for s in sessions} == {process.pid for process in daemon.chromes()}


def test_a_session_that_ends_during_a_handover_has_its_reason(folder: Path) -> None:
    with Daemon(folder) as daemon:
        ending, staying = daemon.new(), daemon.new()
        before = serving(daemon)
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(_gateways(daemon)) == 2, "the next one is starting")
        os.kill(ending["pid"], signal.SIGKILL)
        wait_taken_over(daemon, before)
        path = f"/v1/history/{ending['id']}"
        wait_for(lambda: daemon.ask("GET", path).json.get("reason") == "crashed", "it is kept")
        assert daemon.show(staying["id"])["state"] == "ready"


def _gateways(daemon: Daemon) -> list[int]:
    found = []
    for child in psutil.Process(daemon.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "chromepool.gateway" in child.cmdline():
                found.append(child.pid)
    return found


def test_a_client_that_does_not_answer_the_close_frame_holds_nobody_up(folder: Path) -> None:
    with Daemon(folder) as daemon:
        session = daemon.new()
        with half_open(daemon, session):
            reload(daemon)
        assert daemon.show(session["id"])["state"] == "ready"

        async def look() -> Any:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                return (await client.call("Browser.getVersion"))["product"]

        assert run(look())


def test_a_drain_goes_on_after_a_reload_and_ends_the_daemon(folder: Path) -> None:
    with Daemon(folder) as daemon:
        session = daemon.new()
        assert daemon.ask("POST", "/v1/drain", {"exit": True}).status == 202
        reload(daemon)
        assert daemon.ask("POST", "/v1/sessions").json["code"] == "draining"
        assert daemon.show(session["id"])["state"] == "ready"
        daemon.delete(session["id"])
        wait_for(lambda: daemon.process.poll() is not None, "it exits")
