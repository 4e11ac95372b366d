"""More callers than places: who gets in, who waits, who is told what. Real daemon, real Chrome."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from testing.cdp import run
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.daemon_pool import Daemons

_PLACES, _CALLERS = 10, 50


class _Crowd:
    """Callers of the control API, each with a number as its label."""

    def __init__(self, daemon: Daemon, http: aiohttp.ClientSession) -> None:
        self._daemon, self._http = daemon, http
        self.served: list[int] = []
        self.sessions: dict[int, str] = {}
        self.refused: dict[int, object] = {}

    async def call(self, number: int, wait: str = "?wait=60") -> int:
        body = {"labels": {"number": str(number)}}
        async with self._http.post(f"/v1/sessions{wait}", json=body) as answer:
            told = await answer.json()
            if answer.status == 201:
                self.served.append(number)
                self.sessions[number] = told["id"]
            else:
                self.refused[number] = told
            return answer.status

    async def served_to(self, count: int) -> None:
        """Return once so many callers are served; fail when one was refused."""
        while len(self.served) < count:
            assert not self.refused
            await asyncio.sleep(0.01)

    async def queue(self) -> list[int]:
        async with self._http.get("/v1/queue") as answer:
            waiting = (await answer.json())["waiting"]
        assert [w["place"] for w in waiting] == list(range(1, len(waiting) + 1))
        return [int(w["labels"]["number"]) for w in waiting]

    async def queue_of(self, length: int) -> list[int]:
        while len(found := await self.queue()) != length:
            await asyncio.sleep(0.01)
        return found

    async def end_one(self) -> None:
        number = next(iter(self.sessions))
        async with self._http.delete(f"/v1/sessions/{self.sessions.pop(number)}") as answer:
            assert answer.status == 204


def _visit(daemon: Daemon) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(str(daemon.control_socket), limit=0)
    return aiohttp.ClientSession("http://localhost", connector=connector)


def test_fifty_ask_at_once_for_ten_places_and_wait(daemons: Daemons) -> None:
    async def scenario(daemon: Daemon) -> None:
        async with _visit(daemon) as http:
            crowd = _Crowd(daemon, http)
            # On a machine that is busy the last of them waits for longer than a minute.
            calls = [asyncio.create_task(crowd.call(n, "?wait=600")) for n in range(_CALLERS)]
            line = await crowd.queue_of(_CALLERS - _PLACES)
            await crowd.served_to(_PLACES)
            assert len(daemon.chromes()) == _PLACES
            assert not set(line) & set(crowd.served)
            for place in range(len(line)):
                await crowd.end_one()
                await crowd.served_to(_PLACES + place + 1)
                assert len(daemon.chromes()) <= _PLACES
            assert crowd.served[_PLACES:] == line
            assert [await call for call in calls] == [201] * _CALLERS
            assert await crowd.queue() == []

    daemon = daemons(max_sessions=_PLACES, queue_wait_s=600)
    run(scenario(daemon))


def test_fifty_ask_at_once_and_do_not_wait(daemons: Daemons) -> None:
    async def scenario(daemon: Daemon) -> list[int]:
        async with _visit(daemon) as http:
            crowd = _Crowd(daemon, http)
            return await asyncio.gather(*(crowd.call(n, "") for n in range(_CALLERS)))

    daemon = daemons(max_sessions=_PLACES, queue_wait_s=600)
    statuses = run(scenario(daemon))
    assert sorted(statuses) == [201] * _PLACES + [503] * (_CALLERS - _PLACES)
    assert len(daemon.chromes()) == _PLACES


def test_callers_that_hang_up_lose_their_place_and_no_other(daemons: Daemons) -> None:
    async def scenario(daemon: Daemon) -> None:
        async with _visit(daemon) as http:
            crowd = _Crowd(daemon, http)
            assert await crowd.call(0) == 201
            calls = {}
            for number in range(1, 7):
                calls[number] = asyncio.create_task(crowd.call(number))
                await crowd.queue_of(number)
            for number in (1, 3, 6):  # the first, one between, the last
                calls[number].cancel()
            assert await crowd.queue_of(3) == [2, 4, 5]
            for _ in range(3):
                served = len(crowd.served)
                await crowd.end_one()
                while len(crowd.served) == served:
                    await asyncio.sleep(0.01)
            assert crowd.served == [0, 2, 4, 5]
            await asyncio.gather(*calls.values(), return_exceptions=True)
            await crowd.end_one()

    daemon = daemons(max_sessions=1)
    run(scenario(daemon))
    status = daemon.ask("GET", "/v1/status").json
    assert (status["sessions"]["now"], status["queue"]["now"]) == (0, 0)
    assert daemon.new()["state"] == "ready"


def test_callers_that_hang_up_while_their_chrome_starts_leave_nothing(daemons: Daemons) -> None:
    async def scenario(daemon: Daemon, after_s: float) -> None:
        async with _visit(daemon) as http:
            call = asyncio.create_task(_Crowd(daemon, http).call(1))
            await asyncio.sleep(after_s)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call

    def idle(daemon: Daemon) -> bool:
        now: int = daemon.ask("GET", "/v1/status").json["sessions"]["now"]
        sessions = daemon.ask("GET", "/v1/sessions").json["sessions"]
        return not now and not sessions and not daemon.chromes()

    daemon = daemons(max_sessions=2)
    for number in range(12):  # a cold start takes longer than the latest of these
        run(scenario(daemon, number * 0.004))
        wait_for(lambda: idle(daemon), "nobody's session is gone")


def test_the_queue_ends_with_its_patience_its_length_and_the_daemon(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    async def scenario(daemon: Daemon) -> list[int]:
        async with _visit(daemon) as http:
            crowd = _Crowd(daemon, http)
            assert await crowd.call(0) == 201
            assert await crowd.call(1, "?wait=0.05") == 503
            waiting = [asyncio.create_task(crowd.call(n)) for n in (2, 3)]
            await crowd.queue_of(2)
            async with http.post("/v1/sessions?wait=5") as answer:
                assert (await answer.json())["code"] == "queue_full"
                assert int(answer.headers["Retry-After"]) > 0
            daemon.process.terminate()
            return [await call for call in waiting]

    daemon = Daemon(tmp_path, max_sessions=1, queue_length=2)
    with daemon:
        assert run(scenario(daemon)) == [503, 503]


def test_to_prefer_to_wait_is_the_same(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, max_sessions=1, queue_wait_s=0.05) as daemon:
        first = daemon.new()

        async def prefer(value: str) -> tuple[int, dict[str, str], Any]:
            async with _visit(daemon) as http:
                headers = {"Prefer": value}
                async with http.post("/v1/sessions", headers=headers) as answer:
                    return answer.status, dict(answer.headers), await answer.json()

        status, _, told = run(prefer("respond-async, wait=30"))  # the operator's 0.05 s count
        assert (status, told["code"]) == (503, "pool_full")
        assert "0.05" in told["detail"]
        assert run(prefer("wait=soon"))[0] == 400
        daemon.delete(first["id"])
        status, headers, _ = run(prefer("wait=30"))
        assert (status, headers["Preference-Applied"]) == (201, "wait")


def test_five_creations_a_minute_and_no_more(misbehaving: Misbehaving) -> None:
    with misbehaving(creations_per_minute=5, max_sessions=20) as daemon:
        for _ in range(5):
            daemon.new()
        answer = daemon.ask("POST", "/v1/sessions")
        assert (answer.status, answer.json["code"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= 12
        assert daemon.get("/json/version").status == 200


def test_connect_and_go_is_counted_by_address(misbehaving: Misbehaving) -> None:
    with misbehaving(creations_per_minute=2, max_sessions=20) as daemon:

        async def scenario() -> None:
            async with aiohttp.ClientSession() as http:
                for _ in range(2):
                    async with http.ws_connect(daemon.ws_url):
                        pass
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect(daemon.ws_url)
                assert refused.value.status == 429
                assert refused.value.headers is not None
                assert int(refused.value.headers["Retry-After"]) >= 1

        run(scenario())
        assert daemon.new()["state"] == "ready"  # another client: the Unix socket's


def test_no_chrome_is_started_without_the_memory_for_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, session_need_bytes="100GiB") as daemon:
        answer = daemon.ask("POST", "/v1/sessions")
        assert (answer.status, answer.json["code"]) == (503, "insufficient_memory")
        assert int(answer.headers["Retry-After"]) > 0
        assert daemon.ask("GET", "/readyz").json["code"] == "insufficient_memory"
        assert not daemon.chromes()


def test_the_pools_own_cap_refuses_before_the_kernel_does(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, pool_memory_bytes="400MiB", session_need_bytes="150MiB") as daemon:
        if "memory" not in daemon.ask("GET", "/v1/status").json["limits"]["enforced"]:
            pytest.skip("no control group counts memory here")
        statuses = [daemon.ask("POST", "/v1/sessions").status for _ in range(6)]
        assert statuses[0] == 201
        assert statuses[-1] == 503
        sessions = daemon.ask("GET", "/v1/sessions").json["sessions"]
        assert {s["state"] for s in sessions} == {"ready"}
        assert {s["usage"]["oom_kills"] for s in sessions} == {0}


def test_the_breaker_opens_says_why_and_closes_again(misbehaving: Misbehaving) -> None:
    settings = {"breaker_failures": 2, "breaker_pause_s": 1, "start_attempts": 1}
    with misbehaving("die-at-start", **settings) as daemon:
        for _ in range(2):
            answer = daemon.ask("POST", "/v1/sessions")
            assert (answer.status, answer.json["code"]) == (503, "start_failed")
        answer = daemon.ask("POST", "/v1/sessions")
        assert (answer.status, answer.json["code"]) == (503, "circuit_open")
        assert "I die" in answer.json["detail"]
        assert int(answer.headers["Retry-After"]) == 1
        assert "I die" in daemon.ask("GET", "/v1/status").json["breaker"]["failure"]
        program = Path(str(daemon.settings["chrome"]))
        program.with_name("faults").write_text("")

        def starts() -> bool:
            return daemon.ask("POST", "/v1/sessions").status == 201

        wait_for(starts, "the pause is over and a start is tried")
        assert not daemon.ask("GET", "/v1/status").json["breaker"]["open"]


def test_a_start_that_failed_by_chance_is_tried_again(misbehaving: Misbehaving) -> None:
    with misbehaving("die-once", start_attempts=2) as daemon:
        began = time.monotonic()
        assert daemon.new()["state"] == "ready"
        assert time.monotonic() - began < 60
        ended = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
        assert sorted(s["state"] for s in ended) == ["closed", "ready"]
        assert [s["exit"]["reason"] for s in ended if s["exit"]] == ["start_failed"]
