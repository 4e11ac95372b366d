"""Clients that read slowly or not at all, and Chromes that do."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import psutil
import pytest

from testing.cdp import Cdp, connect, run
from testing.daemon import Daemon, wait_for
from testing.daemon_pool import Daemons

MIB = 1024 * 1024
_FLOOD = """
window.text = 'x'.repeat(256 * 1024);
window.flood = setInterval(() => { for (let i = 0; i < 20; i++) console.log(text); }, 0);
0
"""


async def _flood(client: Cdp) -> str:
    _, page = await client.open_page()
    await client.call("Runtime.enable", None, page)
    await client.evaluate(_FLOOD, page)
    return page


_BURST = "for (let i = 0; i < 400; i++) console.log(i + '-' + 'x'.repeat(100000)); 0"
"""More than all buffers on the way hold."""


async def _burst(client: Cdp) -> int:
    """Has the page say a lot; the number of the command."""
    _, page = await client.open_page()
    await client.call("Runtime.enable", None, page)
    return await client.send("Runtime.evaluate", {"expression": _BURST}, page)


@pytest.fixture
def tight(daemons: Daemons) -> Daemon:
    return daemons(client_buffer_bytes="8MiB")


def test_a_client_that_stops_reading_is_ended_and_memory_stays_bounded(tight: Daemon) -> None:
    session = tight.new()
    gateway = tight.gateway

    async def watch() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as good:
            _, page = await good.open_page()
            await good.evaluate("1", page)
            before = gateway.memory_info().rss
            async with connect(session["webSocketDebuggerUrl"]) as deaf:
                await _flood(deaf)
                deadline = time.monotonic() + 60
                peak = before
                while tight.show(session["id"])["clients"] == 2:
                    assert await good.evaluate("6*7", page) == 42
                    peak = max(peak, gateway.memory_info().rss)
                    assert time.monotonic() < deadline, "the deaf client is still attached"
                assert peak - before < 64 * MIB
                assert await good.evaluate("6*7", page) == 42

    run(watch())
    assert tight.delete(session["id"]) == 204


def test_the_only_client_makes_chrome_wait_instead(tight: Daemon) -> None:
    """Alone, a slow reader loses nothing: Chrome waits for it, and the gateway's memory is flat."""
    session = tight.new()
    gateway = tight.gateway

    async def read_late() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            before = gateway.memory_info().rss
            number = await _burst(client)
            wait_for(lambda: _settled(gateway), "the gateway has come to rest")
            assert gateway.memory_info().rss - before < 40 * MIB
            await client.answer(number)
            while len(_lines(client)) < 400:
                client.events.append(await client.receive())
            assert [line.split("-")[0] for line in _lines(client)] == [str(i) for i in range(400)]

    run(read_late())
    assert tight.delete(session["id"]) == 204


def _settled(process: psutil.Process) -> bool:
    first = sum(process.cpu_times()[:2])
    time.sleep(0.5)
    return sum(process.cpu_times()[:2]) - first < 0.1


def _dropped(daemon: Daemon) -> int:
    dropped: int = daemon.ask("GET", "/v1/status").json["clients"]["dropped_dead"]
    return dropped


def _lines(client: Cdp) -> list[str]:
    return [
        event["params"]["args"][0]["value"]
        for event in client.events
        if event.get("method") == "Runtime.consoleAPICalled"
    ]


def test_the_only_client_is_dropped_when_it_neither_reads_nor_answers(daemons: Daemons) -> None:
    """As long as it is there Chrome waits for it, whatever else there is to do."""
    daemon = daemons(ping_interval_s=0.3)
    session = daemon.new()

    async def fall_silent() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            await _burst(client)
            gone = lambda: daemon.show(session["id"])["clients"] == 0  # noqa: E731
            await asyncio.to_thread(wait_for, gone, "it is dropped")

    dropped = _dropped(daemon)
    run(fall_silent())
    assert _dropped(daemon) == dropped + 1

    async def use() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            assert "product" in await client.call("Browser.getVersion")

    run(use())


def test_one_that_reads_slowly_is_alive(tmp_path: Path) -> None:
    """Pings wait behind all that it has to read before."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, ping_interval_s=1) as daemon:
        session = daemon.new()

        async def crawl() -> None:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await _burst(client)
                for _ in range(80):  # some eight seconds, of which the first have no ping in them
                    await client.receive()
                    await asyncio.sleep(0.1)
                assert daemon.show(session["id"])["clients"] == 1

        run(crawl())
        assert daemon.ask("GET", "/v1/status").json["clients"]["dropped_dead"] == 0


def test_a_client_that_is_held_back_is_not_taken_for_dead(daemons: Daemons) -> None:
    """Nobody reads its pongs meanwhile."""
    daemon = daemons(ping_interval_s=0.3)
    session = daemon.new()
    chrome = psutil.Process(session["pid"])

    async def fill(client: Cdp) -> None:
        for _ in range(100):
            padding = {"x": "x" * MIB}
            await asyncio.wait_for(client.send("Browser.getVersion", padding), 3)

    async def push() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            chrome.send_signal(signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                await fill(client)
            assert daemon.show(session["id"])["clients"] == 1
            chrome.send_signal(signal.SIGCONT)

    dropped = _dropped(daemon)
    run(push())
    assert _dropped(daemon) == dropped


def test_a_chrome_that_stops_reading_holds_its_clients_back(tight: Daemon) -> None:
    session = tight.new()
    gateway = tight.gateway
    chrome = psutil.Process(session["pid"])

    async def push() -> int:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            await client.call("Browser.getVersion")
            before = gateway.memory_info().rss
            chrome.send_signal(signal.SIGSTOP)
            sent = 0
            try:
                async with asyncio.timeout(60):
                    while sent < 100:
                        padding = {"x": "x" * MIB}
                        await asyncio.wait_for(client.send("Browser.getVersion", padding), 3)
                        sent += 1
            except TimeoutError:
                pass
            grown = gateway.memory_info().rss - before
            chrome.send_signal(signal.SIGCONT)
            assert sent < 100, "it was never held back"
            return grown

    assert run(push()) < 64 * MIB
    assert tight.show(session["id"])["state"] == "ready"
    assert tight.delete(session["id"]) == 204
