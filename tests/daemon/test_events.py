"""Server-sent events, pings, health: with real daemons."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import aiohttp

from chromepool.client import Client
from chromepool.gateway.http.events import MOST
from testing.cdp import connect, run
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.daemon_pool import Daemons
from testing.handover import kill_gateway, reload


def _visit(daemon: Daemon) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(str(daemon.control_socket), limit=0)
    return aiohttp.ClientSession("http://localhost", connector=connector)


def _status(daemon: Daemon) -> dict[str, Any]:
    status: dict[str, Any] = daemon.ask("GET", "/v1/status").json
    return status


class _Stream:
    """Reads events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self) -> tuple[int, str, dict[str, Any]]:
        number, name = 0, ""
        while True:
            line = (await asyncio.wait_for(self._answer.content.readline(), 60)).decode().rstrip()
            kind, _, value = line.partition(": ")
            if kind == "id":
                number = int(value)
            elif kind == "event":
                name = value
            elif kind == "data":
                return number, name, json.loads(value)

    async def until(self, name: str) -> tuple[int, dict[str, Any]]:
        while True:
            number, found, data = await self.next()
            if found == name:
                return number, data


def test_everything_that_happens_to_a_session_in_order(shared_daemon: Daemon) -> None:
    async def scenario() -> None:
        async with _visit(shared_daemon) as http, http.get("/v1/events") as answer:
            assert answer.content_type == "text/event-stream"
            stream = _Stream(answer)
            session = await asyncio.to_thread(shared_daemon.new, labels={"job": "1"})
            number, created = await stream.until("session.created")
            assert created["session_id"] == session["id"]
            assert created["labels"] == {"job": "1"}
            await asyncio.to_thread(shared_daemon.delete, session["id"])
            later, closing = await stream.until("session.closing")
            assert closing["reason"] == "deleted"
            last, closed = await stream.until("session.closed")
            assert closed["usage"]["cpu_s"] > 0
            assert number < later < last

        missed = {"Last-Event-ID": str(number)}
        async with (
            _visit(shared_daemon) as http,
            http.get("/v1/events", headers=missed) as answer,
        ):
            again = await _Stream(answer).next()
            assert again[:2] == (number + 1, "session.closing")

    run(scenario())


def events_of(daemon: Daemon, after: int | None, last: str) -> list[tuple[int, str]]:
    """Numbers and names of what comes after that event, to the first of the name ``last``."""

    async def read() -> list[tuple[int, str]]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with _visit(daemon) as http, http.get("/v1/events", headers=headers) as answer:
            stream, found = _Stream(answer), list[tuple[int, str]]()
            while not found or found[-1][1] != last:
                found.append((await stream.next())[:2])
            return found

    return run(read())


def reached(daemon: Daemon) -> int:
    """The number that a listener begins at."""

    async def read() -> int:
        async with _visit(daemon) as http, http.get("/v1/events") as answer:
            while True:
                line = await asyncio.wait_for(answer.content.readline(), 60)
                if line.startswith(b"id: "):
                    return int(line[4:])

    return run(read())


def test_nothing_is_missed_across_a_reload_and_a_restart(
    misbehaving: Misbehaving, folder: Path
) -> None:
    given = {"state_dir": folder / "kept"}
    with misbehaving(**given) as daemon:
        before = reached(daemon)
        session = daemon.new()
        reload(daemon)
        daemon.delete(session["id"])
        told = events_of(daemon, before, "session.closed")
        assert [number for number, _ in told] == [*range(before + 1, before + 1 + len(told))]
        names = [name for _, name in told]
        assert [n for n in names if n != "session.adopted"] == [
            "session.created",
            "gateway.leaving",
            "session.closing",
            "session.closed",
        ]
        last = told[-1][0]
    with misbehaving(**given) as daemon:
        daemon.new()
        assert events_of(daemon, last, "session.created") == [
            (last + 1, "daemon.stopping"),
            (last + 2, "session.created"),
        ]


def test_beyond_memory_the_journal_tells(misbehaving: Misbehaving, folder: Path) -> None:
    with misbehaving(state_dir=folder / "kept") as daemon:
        before = reached(daemon)
        for _ in range(600):  # two events each
            daemon.ask("POST", "/v1/drain")
            daemon.ask("DELETE", "/v1/drain")
        daemon.new()
        told = events_of(daemon, before, "session.created")
        assert [number for number, _ in told] == [*range(before + 1, before + 1202)]
        assert {name for _, name in told[:1200]} == {"daemon.draining", "daemon.not_draining"}


def test_a_gap_that_nothing_fills_is_said(misbehaving: Misbehaving) -> None:
    with misbehaving(journal=False) as daemon:
        before = reached(daemon)
        daemon.new()
        reload(daemon)
        daemon.new()
        (gap, *told) = events_of(daemon, before, "session.created")
        assert gap[1] == "events.lost"
        assert gap[0] > before + 1, "numbers grow also where nobody remembers them"
        assert told[0][0] == gap[0] + 1
        assert events_of(daemon, gap[0], "session.created") == told, "it is said once"
        ahead = events_of(daemon, told[-1][0] + 10**6, "events.lost")
        assert ahead == [(told[-1][0], "events.lost")]


def test_a_killed_gateway_may_have_taken_events_along(
    misbehaving: Misbehaving, folder: Path
) -> None:
    with misbehaving(state_dir=folder / "kept") as daemon:
        before = reached(daemon)
        daemon.new()
        wait_for(lambda: not _status(daemon)["journal"]["waiting"], "it is written")
        kill_gateway(daemon)
        daemon.new()
        told = events_of(daemon, before, "events.lost")
        assert told[0] == (before + 1, "session.created")
        assert events_of(daemon, told[-1][0], "session.created")[0][0] == told[-1][0] + 1


def test_the_client_misses_nothing_of_a_reload(misbehaving: Misbehaving, folder: Path) -> None:
    async def scenario(daemon: Daemon) -> list[str]:
        heard: list[str] = []
        tasks = _status(daemon)["gateway"]["tasks"]

        async def listen() -> None:
            async with Client(daemon.control_socket) as client:
                async for event in client.events():
                    heard.append(event["name"])
                    if event["name"] == "session.closed":
                        return

        listening = asyncio.create_task(listen())
        listens = lambda: _status(daemon)["gateway"]["tasks"] > tasks  # noqa: E731
        await asyncio.to_thread(wait_for, listens, "it listens")
        await asyncio.to_thread(reload, daemon)
        await asyncio.to_thread(daemon.delete, session["id"])
        await asyncio.wait_for(listening, 60)
        return heard

    with misbehaving(state_dir=folder / "kept") as daemon:
        session = daemon.new()
        assert run(scenario(daemon)) == [
            "gateway.leaving",
            "session.adopted",
            "session.closing",
            "session.closed",
        ]


def test_a_caller_listens_so_often_and_no_more(shared_daemon: Daemon) -> None:
    async def scenario() -> None:
        async with _visit(shared_daemon) as http, contextlib.AsyncExitStack() as held:

            async def listen() -> aiohttp.ClientResponse:
                return await held.enter_async_context(http.get("/v1/events"))

            answers = [await listen() for _ in range(MOST)]
            assert {answer.status for answer in answers} == {200}
            refused = await listen()
            assert refused.status == 503
            assert (await refused.json())["code"] == "too_many_listeners"
            answers[0].close()
            async with asyncio.timeout(60):
                while (await listen()).status != 200:
                    await asyncio.sleep(0.05)
            assert (await listen()).status == 503

    run(scenario())


def test_a_number_that_is_none_is_refused(shared_daemon: Daemon) -> None:
    assert shared_daemon.ask("GET", "/v1/events?after=x").json["code"] == "invalid_request"


def test_listeners_that_leave_are_forgotten_and_the_daemon_stops_under_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    async def scenario(daemon: Daemon) -> None:
        tasks = daemon.ask("GET", "/v1/status").json["gateway"]["tasks"]
        for _ in range(3):
            async with _visit(daemon) as http, http.get("/v1/events") as answer:
                await answer.content.readline()
        wait_for(lambda: _status(daemon)["gateway"]["tasks"] <= tasks, "nothing of them is left")
        async with _visit(daemon) as http, http.get("/v1/events") as answer:
            stream = _Stream(answer)
            daemon.process.terminate()
            await stream.until("daemon.stopping")
            assert (await answer.content.read()).strip() == b""

    with Daemon(tmp_path) as daemon:
        run(scenario(daemon))


def test_a_dead_peer_is_dropped_and_a_living_one_is_not(daemons: Daemons) -> None:
    daemon = daemons(ping_interval_s=0.3)
    session = daemon.new()
    dropped = _status(daemon)["clients"]["dropped_dead"]

    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as living, aiohttp.ClientSession() as http:
            dead = await http.ws_connect(url, autoping=False)
            reading = asyncio.create_task(living.socket.receive())
            while True:
                frame = await dead.receive(timeout=60)
                if frame.type is not aiohttp.WSMsgType.PING:
                    break
            assert frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            assert not reading.done()
            reading.cancel()
            assert daemon.show(session["id"])["clients"] == 1
            await dead.close()

    run(scenario())
    assert _status(daemon)["clients"]["dropped_dead"] == dropped + 1


def test_a_stopped_chrome_is_found_and_ended_with_evidence(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    settings = {"health_interval_s": 0.3, "health_timeout_s": 5, "close_timeout_s": 0.2}
    with Daemon(tmp_path, **settings) as daemon:
        well, ill = daemon.new(), daemon.new()
        os.kill(ill["pid"], signal.SIGSTOP)
        ended = daemon.wait_ended(ill["id"])["exit"]
        assert ended["reason"] == "unhealthy"
        assert "is stopped" in ended["detail"]
        for what in (r"\d+ processes", r"\d+ files", r"[\d.]+ s of CPU time"):
            assert re.search(what, ended["detail"]), ended["detail"]
        assert daemon.text.count('"event": "session.silent"') >= 2, "one line for each check"
        assert daemon.show(well["id"])["state"] == "ready"


def test_one_missed_check_is_forgiven(misbehaving: Misbehaving) -> None:
    with misbehaving(health_interval_s=5, health_timeout_s=2) as daemon:
        session = daemon.new()

        def health() -> dict[str, int]:
            found: dict[str, int] = daemon.ask("GET", "/v1/status").json["health"]
            return found

        os.kill(session["pid"], signal.SIGSTOP)
        wait_for(lambda: health()["failures"] == 1, "a check was missed")
        os.kill(session["pid"], signal.SIGCONT)
        rounds = health()["rounds"]
        wait_for(lambda: health()["rounds"] >= rounds + 2, "it was asked again, and again")
        assert health()["failures"] == 1
        assert daemon.show(session["id"])["state"] == "ready"


def test_a_frozen_one_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, warm_sessions=1, health_interval_s=0.1, health_timeout_s=5) as daemon:

        def waiting() -> list[dict[str, Any]]:
            sessions = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
            return [s for s in sessions if s["state"] == "frozen"]

        frozen = wait_for(waiting, "one is frozen")[0]
        checks = daemon.ask("GET", "/v1/status").json["health"]["rounds"]
        wait_for(
            lambda: _status(daemon)["health"]["rounds"] > checks + 5, "some rounds have passed"
        )
        assert waiting()[0]["id"] == frozen["id"]
