"""Clients as no pool wants them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp

from testing.cdp import Cdp, connect
from testing.daemon import Daemon

Json = dict[str, Any]

_EAT = """
window.hoard = [];
(async () => {
  for (;;) {
    hoard.push(new Uint8Array(16 * 1024 * 1024).fill(1));
    await new Promise(done => setTimeout(done, 0));
  }
})();
0
"""
DRESSED: Json = {
    "scripts": [{"name": "mark", "source": "window.mark = 1"}],
    "timezone": "Pacific/Auckland",
    "console": True,
    "capture": {},
}
"""Options of a session by which the daemon has a client of its own in its Chrome."""
_PATIENCE_S = 10.0
_BROKEN = (AssertionError, TimeoutError, OSError, aiohttp.ClientError)
"""Errors of a client whose gateway is killed meanwhile."""


def reset(sock: socket.socket) -> None:
    """From now on closing it is a reset, without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def shake_hands(daemon: Daemon, session: Json, *, receive_bytes: int = 0) -> socket.socket:
    """A WebSocket of which the caller has the bare connection. Raises OSError where there is none
    to be had."""
    host, port = daemon.authority.split(":")
    path = session["webSocketDebuggerUrl"].partition(daemon.authority)[2]
    asked = (
        f"GET {path} HTTP/1.1\r\nHost: {daemon.authority}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    sock = socket.socket()
    try:
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(_PATIENCE_S)
        sock.connect((host, int(port)))
        sock.sendall(asked.encode())
        if b" 101 " not in sock.recv(65536):
            raise ConnectionResetError("no WebSocket")
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def half_open(daemon: Daemon, session: Json) -> Iterator[None]:
    """Begin a message and a request, and go on with neither."""
    host, port = daemon.authority.split(":")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            asking = stack.enter_context(socket.create_connection((host, int(port)), _PATIENCE_S))
            asking.sendall(b"GET /json/version HTTP/1.1\r\nHo")
            begun = stack.enter_context(shake_hands(daemon, session))
            begun.sendall(b"\x81\xfe")  # a text frame, and half of its length
        yield


def frame(message: Json) -> bytes:
    """A masked text frame, with a mask of zeros."""
    data = json.dumps(message).encode()
    length = struct.pack("!BB", 0x81, 0x80 | len(data))
    if len(data) > 125:
        length = struct.pack("!BBH", 0x81, 0xFE, len(data))
    return length + bytes(4) + data


@contextlib.contextmanager
def slow_reader(daemon: Daemon, session: Json, answers: int) -> Iterator[None]:
    """Ask for so many answers of a megabyte and read none of them."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            sock = stack.enter_context(shake_hands(daemon, session, receive_bytes=4096))
            version = {"id": 0, "method": "Target.getTargets"}
            sock.sendall(frame(version))
            said = sock.recv(1 << 20)
            target = said.partition(b'"targetId":"')[2].partition(b'"')[0].decode()
            params = {"targetId": target, "flatten": True}
            sock.sendall(frame({"id": 1, "method": "Target.attachToTarget", "params": params}))
            while b'"sessionId"' not in said:
                said = sock.recv(1 << 20)
            page = said.partition(b'"sessionId":"')[2].partition(b'"')[0].decode()
            large = {"expression": "'x'.repeat(1 << 20)"}
            asked = {"id": 2, "method": "Runtime.evaluate", "params": large, "sessionId": page}
            for _ in range(answers):
                sock.sendall(frame(asked))
        yield


@contextlib.contextmanager
def connections(daemon: Daemon, many: int) -> Iterator[None]:
    """Open so many connections that say nothing."""
    host, port = daemon.authority.split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(many):
            with contextlib.suppress(OSError):
                sock = socket.create_connection((host, int(port)), _PATIENCE_S)
                stack.enter_context(sock)
        yield


async def vanish(session: Json) -> str:
    """Goes without a word, with requests that it holds and answers on the way."""
    with contextlib.suppress(*_BROKEN):
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Fetch.enable", session=page)
            url = {"url": "http://127.0.0.1:9/"}
            await client.send("Page.navigate", url, page)
            for _ in range(20):
                large = {"expression": "'x'.repeat(99999)"}
                await client.send("Runtime.evaluate", large, page)
            transport = client.socket._writer.transport
            reset(transport.get_extra_info("socket"))
            transport.abort()
    return "with a request held and twenty answers on the way"


async def flood(session: Json, messages: int) -> str:
    """All at once, without waiting for an answer."""
    answered = 0
    with contextlib.suppress(*_BROKEN):
        async with connect(session["webSocketDebuggerUrl"]) as client:
            for _ in range(messages):
                await client.send("Target.getTargets")
            for _ in range(messages):
                await client.receive()
                answered += 1
    return f"{messages} messages, {answered} answered"


async def eat_memory(session: Json) -> str:
    """A page that takes more memory than its session may have."""
    with contextlib.suppress(*_BROKEN):
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Inspector.enable", None, page)
            await client.evaluate(_EAT, page)
            async with asyncio.timeout(_PATIENCE_S):
                await client.wait_event("Inspector.targetCrashed")
            return "its tab crashed"
    return "its connection ended"


async def works(session: Json) -> bool:
    """Report whether somebody can have something evaluated: in a new page, which has the
    session's script, or where no process can be made for one any more, in one that was there."""
    script = "console" in session["options"]  # which tells of all but the scripts themselves
    found = await _evaluates(session, _in_new_page)
    return found == 42 + script or (not found and bool(await _evaluates(session, _in_some_page)))


async def answers(session: Json) -> bool:
    """Report whether the session's browser answers."""
    return bool(await _evaluates(session, _has_version))


async def _has_version(client: Cdp) -> int:
    return "product" in await client.call("Browser.getVersion")


async def _evaluates(session: Json, work: Callable[[Cdp], Awaitable[int]]) -> int:
    try:
        async with (
            asyncio.timeout(_PATIENCE_S / 2),
            connect(session["webSocketDebuggerUrl"]) as client,
        ):
            return await work(client)
    except _BROKEN:
        return 0


async def _in_new_page(client: Cdp) -> int:
    """42, and one more where the script has run."""
    target, page = await client.open_page()
    answer: int = await client.evaluate("6*7 + (window.mark || 0)", page)
    await client.call("Target.closeTarget", {"targetId": target})
    return answer


async def _in_some_page(client: Cdp) -> int:
    """42, from whichever answers first."""
    for info in (await client.call("Target.getTargets"))["targetInfos"]:
        if info["type"] == "page":
            page = await client.attach(info["targetId"])
            await client.send("Runtime.evaluate", {"expression": "6*7"}, page)
    while True:
        if (await client.receive()).get("result", {}).get("result", {}).get("value") == 42:
            return 42
