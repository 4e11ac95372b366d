"""Clients that drive sessions all the while, and come back to the same URL when closed."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import aiohttp

from testing.cdp import Cdp, connect
from testing.daemon import Daemon, wait_for

_AGAIN_S = 0.02


@dataclasses.dataclass
class Driver:
    """A client and its observations."""

    session: dict[str, Any]
    pause_s: float = 0.01
    """Between two questions."""
    answers: int = 0
    came_back: list[float] = dataclasses.field(default_factory=list)
    """Times of the first answer of each connection (``time.perf_counter``)."""
    closes: collections.Counter[int | None] = dataclasses.field(default_factory=collections.Counter)
    """Ends of its connections, by WebSocket close code."""
    refused: int = 0
    """Connections that nobody took."""
    gone: str = ""
    """Answer it had when no session of this URL was left."""

    async def drive(self, over: threading.Event) -> None:
        """Until it is over, or its session is gone.

        It is not cancelled: ``asyncio.wait_for`` loses that now and then, before Python 3.12.
        """
        while not self.gone and not over.is_set():
            try:
                async with connect(self.session["webSocketDebuggerUrl"]) as client:
                    await self._ask(client, over)
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 404:
                    self.gone = error.message
            except ConnectionRefusedError:
                self.refused += 1
            except (aiohttp.ClientError, OSError):
                """Reset while its gateway was killed."""
            await asyncio.sleep(_AGAIN_S)

    async def _ask(self, client: Cdp, over: threading.Event) -> None:
        first = True
        try:
            page = await _a_page(client)
            while not over.is_set():
                assert await client.evaluate("6*7", page) == 42
                self.answers += 1
                client.events.clear()
                if first:
                    self.came_back.append(time.perf_counter())
                    first = False
                await asyncio.sleep(self.pause_s)
        except (
            AssertionError,
            TimeoutError,
            aiohttp.ClientError,
        ):  # its tab, or all of it, is gone
            self.closes[client.socket.close_code] += 1


async def _a_page(client: Cdp) -> str:
    """A session on a page that is there already, or on a new one."""
    for info in (await client.call("Target.getTargets"))["targetInfos"]:
        if info["type"] == "page":
            return await client.attach(info["targetId"])
    return (await client.open_page())[1]


@contextlib.contextmanager
def driving(sessions: Sequence[dict[str, Any]], pause_s: float = 0.01) -> Iterator[list[Driver]]:
    """Each session is driven by a client, from before this block is entered until it is left."""
    drivers = [Driver(session, pause_s) for session in sessions]
    over = threading.Event()

    async def work() -> None:
        await asyncio.gather(*(driver.drive(over) for driver in drivers))

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        wait_for(lambda: all(driver.answers for driver in drivers), "every session is driven")
        yield drivers
    finally:
        over.set()
        thread.join()


class Caller:
    """Asks the control API again and again, each time over a new connection."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.answers = 0
        self.failures: list[str] = []

    def call(self, over: threading.Event) -> None:
        while not over.is_set():
            try:
                status = self._daemon.ask("GET", "/v1/status").status
            except OSError as error:
                self.failures.append(repr(error))
                continue
            self.answers += 1
            if status != 200:
                self.failures.append(str(status))
            over.wait(_AGAIN_S)


@contextlib.contextmanager
def calling(daemon: Daemon, many: int = 2) -> Iterator[list[Caller]]:
    """The control API is asked all the while."""
    over = threading.Event()
    callers = [Caller(daemon) for _ in range(many)]
    work: list[Callable[[], None]] = [lambda c=caller: c.call(over) for caller in callers]  # type: ignore[misc]
    threads = [threading.Thread(target=call) for call in work]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        over.set()
        for thread in threads:
            thread.join()
