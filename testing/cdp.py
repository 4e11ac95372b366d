"""A small CDP client of the tests' own: nothing is hidden, so hostile messages can be sent too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")
DEADLINE_S = 60.0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


class Cdp:
    """A WebSocket of a CDP client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._last = 0
        self.events: list[dict[str, Any]] = []

    async def send(self, method: str, params: object = None, session: str | None = None) -> int:
        """Send a command and return its id."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        await self.socket.send_str(json.dumps(message))
        return self._last

    async def receive(self) -> dict[str, Any]:
        """The next message; fails the test when the socket closes instead."""
        frame = await asyncio.wait_for(self.socket.receive(), DEADLINE_S)
        assert frame.type is aiohttp.WSMsgType.TEXT, (frame, self.socket.close_code)
        message: dict[str, Any] = json.loads(frame.data)
        return message

    async def answer(self, number: int) -> dict[str, Any]:
        """The answer with this id; events on the way are kept."""
        while True:
            message = await self.receive()
            if message.get("id") == number:
                return message
            self.events.append(message)

    async def ask(
        self, method: str, params: object = None, session: str | None = None
    ) -> dict[str, Any]:
        """A command's answer, whether result or error."""
        return await self.answer(await self.send(method, params, session))

    async def call(self, method: str, params: object = None, session: str | None = None) -> Any:
        """A command's result; fails the test on an error."""
        answer = await self.ask(method, params, session)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def attach(self, target: str) -> str:
        """A flat session on a target."""
        params = {"targetId": target, "flatten": True}
        session: str = (await self.call("Target.attachToTarget", params))["sessionId"]
        return session

    async def open_page(self, url: str = "about:blank") -> tuple[str, str]:
        """A new page: its target and a session on it."""
        target: str = (await self.call("Target.createTarget", {"url": url}))["targetId"]
        return target, await self.attach(target)

    async def evaluate(self, expression: str, session: str | None = None) -> Any:
        """The value of an expression in a page."""
        params = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = await self.call("Runtime.evaluate", params, session)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_event(self, method: str) -> dict[str, Any]:
        """The next event of this name, also one that came earlier."""
        while True:
            for event in self.events:
                if event.get("method") == method:
                    self.events.remove(event)
                    return event
            self.events.append(await self.receive())

    async def closed(self) -> tuple[int | None, str]:
        """Close code and reason, once the other side has closed."""
        while True:
            frame = await asyncio.wait_for(self.socket.receive(), DEADLINE_S)
            if frame.type is aiohttp.WSMsgType.CLOSE:
                return frame.data, frame.extra or ""
            if frame.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return self.socket.close_code, ""


@contextlib.asynccontextmanager
async def connect(url: str, **options: Any) -> AsyncIterator[Cdp]:
    """A connected client; every message of Chrome's is taken, however long."""
    given: dict[str, Any] = {"max_msg_size": 0, "compress": 0, "autoclose": True} | options
    async with aiohttp.ClientSession() as http, http.ws_connect(url, **given) as socket:
        yield Cdp(socket)


WAIT = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
"""Parameters of Target.setAutoAttach with which new targets wait, as Playwright sets it."""


def vanish(client: Cdp) -> None:
    """Reset the connection, without a word."""
    transport = client.socket._writer.transport
    assert transport is not None
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
