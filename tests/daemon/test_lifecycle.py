"""How sessions end by themselves, with real Chrome: each reason, and what keeps one alive."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon, wait_for


def _reason(daemon: Daemon, session_id: str) -> str:
    ended: dict[str, Any] = daemon.wait_ended(session_id)["exit"]
    return str(ended["reason"])


def _seconds_left(session: dict[str, Any]) -> float:
    expires = datetime.datetime.fromisoformat(session["expires_at"])
    return (expires - datetime.datetime.now(datetime.UTC)).total_seconds()


def test_a_session_idles_out_while_a_socket_only_pings_and_a_driven_one_does_not(
    shared_daemon: Daemon, new_session: Callable[..., dict[str, Any]]
) -> None:
    pinged, driven = new_session(idle_timeout_s=2), new_session(idle_timeout_s=2)

    async def ping(socket: aiohttp.ClientWebSocketResponse) -> tuple[Any, Any]:
        while not socket.closed:
            await socket.ping()
            try:
                frame = await socket.receive(timeout=0.1)
                if frame.type is aiohttp.WSMsgType.CLOSE:
                    return frame.data, frame.extra
            except TimeoutError:
                continue
        return socket.close_code, ""

    async def scenario() -> tuple[Any, Any]:
        async with (
            aiohttp.ClientSession() as http,
            connect(driven["webSocketDebuggerUrl"]) as driver,
        ):
            socket = http.ws_connect(pinged["webSocketDebuggerUrl"], autoclose=False)
            async with socket as passive:
                end = asyncio.create_task(ping(passive))
                while not end.done():
                    await driver.call("Browser.getVersion")
                    await asyncio.sleep(0.1)
                for _ in range(3):  # the other one has outlived it, and goes on
                    assert (await driver.call("Browser.getVersion"))["product"]
                return await end

    code, why = run(scenario())
    assert code == 1001
    assert "idle_timeout" in why
    assert _reason(shared_daemon, pinged["id"]) == "idle_timeout"
    assert shared_daemon.show(driven["id"])["state"] == "ready"


def test_an_attached_client_that_says_nothing_does_not_keep_it(
    shared_daemon: Daemon, new_session: Callable[..., dict[str, Any]]
) -> None:
    session = new_session(idle_timeout_s=1)

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            frame = await client.socket.receive(timeout=60)
            assert frame.type is aiohttp.WSMsgType.CLOSE

    run(scenario())
    assert _reason(shared_daemon, session["id"]) == "idle_timeout"


def test_a_session_has_a_longest_life_however_busy_it_is(
    shared_daemon: Daemon, new_session: Callable[..., dict[str, Any]]
) -> None:
    session = new_session(max_age_s=1.5)

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            frame = None
            while frame is None or frame.type is aiohttp.WSMsgType.TEXT:
                await client.send("Browser.getVersion")
                frame = await client.socket.receive(timeout=60)
                await asyncio.sleep(0.05)

    run(scenario())
    ended = shared_daemon.wait_ended(session["id"])
    assert ended["exit"]["reason"] == "max_age"
    assert "1.5 s" in ended["exit"]["detail"]


def test_keepalive_begins_the_idle_timeout_anew(
    shared_daemon: Daemon, new_session: Callable[..., dict[str, Any]]
) -> None:
    session = new_session(idle_timeout_s=600)
    wait_for(lambda: _seconds_left(shared_daemon.show(session["id"])) < 599.5, "time passes")
    answer = shared_daemon.ask("POST", f"/v1/sessions/{session['id']}/keepalive")
    assert answer.status == 200
    assert 599.5 < _seconds_left(answer.json) <= 600
    assert answer.json["id"] == session["id"]
    shared_daemon.delete(session["id"])
    again = shared_daemon.ask("POST", f"/v1/sessions/{session['id']}/keepalive")
    assert (again.status, again.json["code"]) == (404, "session_not_found")


def test_defaults_and_bounds_of_the_operator(tmp_path: Path) -> None:
    settings = {"idle_timeout_s": 100, "longest_idle_timeout_s": 200, "max_age_s": 1000}
    with Daemon(tmp_path, **settings) as daemon:
        assert 95 < _seconds_left(daemon.new()) <= 100
        assert 195 < _seconds_left(daemon.new(idle_timeout_s=200)) <= 200
        assert daemon.new(max_age_s=1000)["options"] == {"max_age_s": 1000.0}
        for past in ({"idle_timeout_s": 200.5}, {"max_age_s": 1000.5}, {"idle_timeout_s": 0}):
            answer = daemon.ask("POST", "/v1/sessions", past)
            assert (answer.status, answer.json["code"]) == (400, "invalid_request"), past
        assert len(daemon.chromes()) == 3


def test_no_timeout_where_the_operator_wants_none(tmp_path: Path) -> None:
    with Daemon(tmp_path, idle_timeout_s=0) as daemon:
        assert daemon.new()["expires_at"] is None


def test_the_missions_variable_is_in_milliseconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TIMEOUT", "90000")
    with Daemon(tmp_path) as daemon:
        assert 85 < _seconds_left(daemon.new()) <= 90


def test_ended_on_purpose_by_its_client_by_a_crash(
    shared_daemon: Daemon, new_session: Callable[..., dict[str, Any]]
) -> None:
    deleted, closed, crashed = new_session(), new_session(), new_session()
    shared_daemon.delete(deleted["id"])

    async def close() -> None:
        async with connect(closed["webSocketDebuggerUrl"]) as client:
            await client.call("Browser.close")

    run(close())
    os.kill(crashed["pid"], signal.SIGKILL)
    found = [_reason(shared_daemon, s["id"]) for s in (deleted, closed, crashed)]
    assert found == ["deleted", "client_closed", "crashed"]


def test_a_session_outlives_its_client_and_is_found_as_it_was(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    async def leave() -> str:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            target, page = await client.open_page("data:text/html,<title>mine</title>")
            await client.evaluate("window.kept = 42", page)
            return target

    async def come_back(target: str) -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            return await client.evaluate("window.kept", await client.attach(target))

    target = run(leave())
    wait_for(lambda: shared_daemon.show(session["id"])["clients"] == 0, "the client is gone")
    assert run(come_back(target)) == 42


def test_usage_tells_of_messages_bytes_and_descriptors(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    before = shared_daemon.show(session["id"])["usage"]
    assert before["files"] > 20
    assert before["cdp_messages_in"] == 0

    async def drive() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            for _ in range(10):
                await client.evaluate("'x'.repeat(1000)", page)

    run(drive())
    used = shared_daemon.show(session["id"])["usage"]
    assert used["cdp_messages_in"] == 12
    assert used["cdp_messages_out"] >= 12
    assert used["cdp_bytes_in"] > 12 * 60
    assert used["cdp_bytes_out"] > 10_000
    assert used["cpu_s"] > before["cpu_s"]
    shared_daemon.delete(session["id"])
    assert shared_daemon.show(session["id"])["usage"]["cdp_messages_in"] == 12


def test_cpu_and_processes_at_and_past_the_operators_limit(tmp_path: Path) -> None:
    settings = {"session_cpu_cores": 1.5, "session_cpu_weight": 200, "session_pids": 300}
    with Daemon(tmp_path, session_files=2000, **settings) as daemon:
        most = {"cpu_cores": 1.5, "cpu_weight": 200, "pids": 300, "files": 2000}
        limits = daemon.new(limits=most)["limits"]
        assert {name: limits[name] for name in most} == most
        shares = [int(p.read_text()) for leaf in daemon.leaves() for p in leaf.glob("cpu.shares")]
        weights = [int(p.read_text()) for leaf in daemon.leaves() for p in leaf.glob("cpu.weight")]
        if limits["enforced"]:
            assert 2048 in shares or 200 in weights
        for name, value in most.items():
            answer = daemon.ask("POST", "/v1/sessions", {"limits": {name: value + 1}})
            assert answer.status == 400, name
            assert name in answer.json["detail"]
