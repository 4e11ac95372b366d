"""CDP through chromepool against the same Chrome process's own DevTools port."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from testing.daemon import Daemon, wait_for

_WRAPPER = """#!/bin/sh
exec /usr/lib/chromium/chromium-headless-shell --remote-debugging-port=0 "$@"
"""


class Connection:
    """A page's WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0

    async def call_s(self, expression: str) -> float:
        """Seconds for one ``Runtime.evaluate``."""
        self._last += 1
        params = {"expression": expression, "returnByValue": True}
        message = {"id": self._last, "method": "Runtime.evaluate", "params": params}
        began = time.perf_counter()
        await self._socket.send_str(json.dumps(message))
        await self._socket.receive()
        return time.perf_counter() - began

    async def rate(self, calls: int) -> float:
        """Return the calls per second when all are sent without waiting."""
        body = '{"id":%d,"method":"Runtime.evaluate","params":{"expression":"1+1"}}'

        async def send() -> None:
            for number in range(calls):
                await self._socket.send_str(body % (1_000_000 + number))

        began = time.perf_counter()
        sender = asyncio.create_task(send())
        for _ in range(calls):
            await self._socket.receive()
        await sender
        return calls / (time.perf_counter() - began)


async def _compare(direct: Connection, pooled: Connection, rounds: int, text: str) -> list[float]:
    """Median seconds of each, the calls taken in turn so that noise falls on both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(await direct.call_s(text))
        times[1].append(await pooled.call_s(text))
    return [statistics.median(taken[rounds // 10 :]) for taken in times]


async def _measure(direct: Connection, pooled: Connection) -> dict[str, Any]:
    small = await _compare(direct, pooled, 4000, "1+1")
    large = await _compare(direct, pooled, 150, '"x".repeat(1e6)')
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(9):
        rates[0].append(await direct.rate(3000))
        rates[1].append(await pooled.rate(3000))
    pace = [statistics.median(taken) for taken in rates]
    return {
        "evaluate_us": [round(value * 1e6, 1) for value in small],
        "evaluate_ratio": round(small[1] / small[0], 3),
        "megabyte_us": [round(value * 1e6, 1) for value in large],
        "megabyte_ratio": round(large[1] / large[0], 3),
        "pipelined_per_s": [round(value) for value in pace],
        "pipelined_ratio": round(pace[1] / pace[0], 3),
    }


async def _connect_and_measure(daemon: Daemon) -> dict[str, Any]:
    session = daemon.new()
    port = _port_of(daemon)
    options: dict[str, Any] = {"max_msg_size": 0, "compress": 0, "decode_text": False}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
            page = next(t for t in await answer.json() if t["type"] == "page")["id"]
        direct_url = f"ws://127.0.0.1:{port}/devtools/page/{page}"
        pooled_url = f"ws://{daemon.authority}/sessions/{session['id']}/devtools/page/{page}"
        async with (
            http.ws_connect(direct_url, **options) as direct,
            http.ws_connect(pooled_url, **options) as pooled,
        ):
            return await _measure(Connection(direct), Connection(pooled))


def _port_of(daemon: Daemon) -> int:
    file: Path = daemon.profiles()[0] / "DevToolsActivePort"
    wait_for(file.exists, "Chrome has written its port")
    return int(file.read_text().splitlines()[0])


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    wrapper = folder / "chrome-headless-shell"
    wrapper.write_text(_WRAPPER)
    wrapper.chmod(0o755)
    with Daemon(folder, chrome=wrapper) as daemon:
        result: dict[str, Any] = uvloop.run(_connect_and_measure(daemon))
        return result
