"""Creating a session with a Chrome that waits, beside a cold start of the same Chrome."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from testing.daemon import Daemon, wait_for

_ROUNDS = 30
_VERSION = '{"id":1,"method":"Browser.getVersion"}'


class _Times:
    """Milliseconds of each round."""

    def __init__(self) -> None:
        self.server: list[float] = []
        self.created: list[float] = []
        self.answered: list[float] = []

    def medians(self, name: str) -> dict[str, float]:
        return {
            f"{name}_create_server_ms": round(statistics.median(self.server), 2),
            f"{name}_create_client_ms": round(statistics.median(self.created), 2),
            f"{name}_first_version_ms": round(statistics.median(self.answered), 2),
        }


async def _create(daemon: Daemon, control: aiohttp.ClientSession, times: _Times) -> bool:
    """Time a session, its first answer over a WebSocket and its end; return whether it was warm."""
    began = time.perf_counter()
    async with control.post("/v1/sessions") as answer:
        session = await answer.json()
        created = time.perf_counter()
        match = re.search(r"dur=([\d.]+)", answer.headers["Server-Timing"])
    url = session["webSocketDebuggerUrl"]
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        await socket.send_str(_VERSION)
        await socket.receive()
        answered = time.perf_counter()
    assert match is not None
    times.server.append(float(match[1]))
    times.created.append((created - began) * 1000)
    times.answered.append((answered - began) * 1000)
    async with control.delete(f"/v1/sessions/{session['id']}") as answer:
        assert answer.status == 204
    return bool(session["warm"])


async def _measure(daemon: Daemon, *, warm: bool) -> _Times:
    times = _Times()
    connector = aiohttp.UnixConnector(str(daemon.control_socket))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as control:
        await _create(daemon, control, _Times())
        for _ in range(_ROUNDS):
            if warm:
                wait_for(lambda: _is_frozen(daemon), "one waits")
            assert await _create(daemon, control, times) == warm
    return times


def _is_frozen(daemon: Daemon) -> bool:
    sessions = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
    return any(session["state"] == "frozen" for session in sessions)


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    with Daemon(folder) as daemon:
        cold = uvloop.run(_measure(daemon, warm=False))
    with Daemon(folder, warm_sessions=1) as daemon:
        warm = uvloop.run(_measure(daemon, warm=True))
    ratio = statistics.median(cold.server) / statistics.median(warm.server)
    return {
        **cold.medians("cold"),
        **warm.medians("warm"),
        "warm_create_server_worst_ms": max(warm.server),
        "warm_is_times_faster": round(ratio, 1),
    }
