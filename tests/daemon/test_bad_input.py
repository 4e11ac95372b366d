"""Whatever is thrown at the daemon gets a clear error; it and the other sessions go on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from testing.cdp import connect, run
from testing.daemon import Answer, Daemon
from testing.daemon_pool import Daemons

MIB = 1024 * 1024


def _assert_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b'{"unknown": 1}',
        b'{"labels": 5}',
        b'{"labels": {"a": 5}}',
        b'{"labels": {"": "x"}}',
        b'{"limits": {"memory_bytes": "512"}}',
        b'{"limits": {"memory_bytes": -1}}',
        b'{"limits": {"memory_bytes": 99999999999999}}',
        b'{"limits": {"memory_bytes": 1e400}}',
        b'{"limits": {"pids": 1}}',
        b'{"limits": {"argv": ["--no-sandbox"]}}',
        b'{"limits": {"cpu_cores": NaN}}',
        b"[" * 100_000,
    ],
)
def test_bad_bodies(shared_daemon: Daemon, body: bytes) -> None:
    _assert_problem(shared_daemon.ask("POST", "/v1/sessions", raw=body), 400, "invalid_request")


@pytest.mark.parametrize("body", [b'{"\xff": 1}', b'{"\xff', b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/sessions"),
        ("POST", "/v1/drain"),
        ("POST", "/v1/sessions/{id}/scripts"),
        ("PUT", "/v1/sessions/{id}/scripts/a"),
    ],
)
def test_bodies_that_are_no_text(
    shared_daemon: Daemon, session: dict[str, Any], method: str, path: str, body: bytes
) -> None:
    answer = shared_daemon.ask(method, path.format(id=session["id"]), raw=body)
    _assert_problem(answer, 400, "invalid_request")


def test_oversized_body(shared_daemon: Daemon) -> None:
    body = json.dumps({"labels": {"a": "x" * (2 * MIB)}}).encode()
    _assert_problem(shared_daemon.ask("POST", "/v1/sessions", raw=body), 413, "body_too_large")


def test_too_many_labels(shared_daemon: Daemon) -> None:
    labels = {str(number): "" for number in range(33)}
    answer = shared_daemon.ask("POST", "/v1/sessions", {"labels": labels})
    _assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/sessions/0", 404, "session_not_found"),
        ("DELETE", "/v1/sessions/" + "0" * 32, 404, "session_not_found"),
        ("GET", "/v1/sessions/..%2f..%2fetc", 404, "session_not_found"),
        ("GET", "/v1/sessions/%00", 404, "session_not_found"),
        ("GET", "/nowhere", 404, "route_not_found"),
        ("PATCH", "/v1/sessions", 405, "method_not_allowed"),
    ],
)
def test_bad_requests(
    shared_daemon: Daemon, method: str, path: str, status: int, code: str
) -> None:
    _assert_problem(shared_daemon.ask(method, path), status, code)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/sessions/0/json/version", 404, "session_not_found"),
        ("/sessions/0/devtools/browser/0", 404, "session_not_found"),
        ("/sessions/{id}/devtools/browser/0", 404, "target_not_found"),
        ("/sessions/{id}/devtools/page/0", 426, "upgrade_required"),
        ("/sessions/{id}/json/close/0", 404, "target_not_found"),
        ("/sessions/{id}/json/activate/0", 404, "target_not_found"),
        ("/sessions/{id}/json/new", 405, "method_not_allowed"),
        ("/", 426, "upgrade_required"),
        ("/nowhere", 404, "route_not_found"),
    ],
)
def test_bad_devtools_requests(
    shared_daemon: Daemon, session: dict[str, Any], path: str, status: int, code: str
) -> None:
    _assert_problem(shared_daemon.get(path.format(id=session["id"])), status, code)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:9222"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9222"},
    ],
)
def test_host_and_origin(shared_daemon: Daemon, headers: dict[str, str]) -> None:
    _assert_problem(shared_daemon.get("/json/version", headers=headers), 403, "forbidden")


@pytest.mark.parametrize(
    "host", ["localhost", "x.localhost:1", "[::1]:9222", "10.1.2.3", "LocalHost"]
)
def test_hosts_that_are_ours(shared_daemon: Daemon, host: str) -> None:
    assert shared_daemon.get("/json/version", headers={"Host": host}).status == 200


def test_a_page_cannot_open_a_websocket(session: dict[str, Any]) -> None:
    async def attempt() -> int:
        headers = {"Origin": "https://evil.example"}
        try:
            async with connect(session["webSocketDebuggerUrl"], headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    assert run(attempt()) == 403


_GARBAGE = [
    ("nonsense", -32700),
    ("", -32700),
    ("[]", -32600),
    ("{}", -32600),
    ("null", -32600),
    ('{"id": 5}', -32600),
    ('{"id": "5", "method": "Browser.getVersion"}', -32600),
    ('{"id": 5.5, "method": "Browser.getVersion"}', -32600),
    ('{"id": 99999999999999999999, "method": "Browser.getVersion"}', -32600),
    ('{"id": 5, "method": 5}', -32600),
    ('{"id": 5, "method": "Browser.getVersion", "sessionId": 5}', -32600),
    ('{"id": 5, "method": "No.such"}', -32601),
    ('{"id": 5, "method": "Browser.getVersion", "sessionId": "0"}', -32001),
    ("[" * 100_000, -32600),
]


@pytest.mark.parametrize(("text", "code"), _GARBAGE, ids=range(len(_GARBAGE)))
def test_garbage_on_the_websocket(session: dict[str, Any], text: str, code: int) -> None:
    async def send() -> dict[str, Any]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            await client.socket.send_str(text)
            answer = await client.receive()
            assert (await client.call("Browser.getVersion"))["product"]
            return answer

    assert run(send())["error"]["code"] == code


def test_binary_frames(session: dict[str, Any]) -> None:
    async def send() -> tuple[int | None, str]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            await client.socket.send_bytes(b"\x00\x01")
            return await client.closed()

    code, reason = run(send())
    assert code == 1003
    assert "text" in reason


def _frame(head: int, payload: bytes, mask: bytes = b"abcd") -> bytes:
    masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return bytes((head, len(payload) | 0x80)) + mask + masked


_NOT_UTF8 = _frame(0x81, b'{"id":1,"method":"\xff"}')


def test_a_text_frame_that_is_not_utf8(shared_daemon: Daemon, session: dict[str, Any]) -> None:
    received = _close_frame(shared_daemon, session, _NOT_UTF8)
    assert received[:4] == b"\x88" + received[1:2] + (1007).to_bytes(2, "big")


def test_pings_without_end_are_answered_only_to_those_who_read(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    gateway = shared_daemon.gateway
    before = gateway.memory_info().rss
    ping = _frame(0x89, b"x" * 125) * 500
    with _upgraded(shared_daemon, session) as raw:
        for _ in range(1000):
            raw.sendall(ping)
        assert gateway.memory_info().rss - before < 32 * MIB


def test_fragments_without_end_are_bounded(shared_daemon: Daemon, session: dict[str, Any]) -> None:
    gateway = shared_daemon.gateway
    before = gateway.memory_info().rss
    with _upgraded(shared_daemon, session) as raw:
        raw.sendall(_frame(0x01, b"x"))
        for _ in range(300):
            raw.sendall(_frame(0x00, b"") * 5000)
        assert gateway.memory_info().rss - before < 32 * MIB


def test_one_client_too_many(daemons: Daemons) -> None:
    daemon = daemons(max_clients=2)
    url = daemon.new()["webSocketDebuggerUrl"]

    async def crowd() -> None:
        async with connect(url), connect(url):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connect(url):
                    pass
            assert caught.value.status == 503
        async with connect(url) as client:
            await client.call("Browser.getVersion")

    run(crowd())


def test_a_message_of_100_mb(shared_daemon: Daemon, session: dict[str, Any]) -> None:
    async def send() -> int | None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            padding = "x" * (100 * MIB)
            message = json.dumps({"id": 1, "method": "Browser.getVersion", "x": padding})
            with contextlib.suppress(ConnectionError):  # closed while we are still sending
                await client.socket.send_str(message)
            return (await client.closed())[0]

    assert run(send()) == 1009
    assert shared_daemon.show(session["id"])["state"] == "ready"


def test_a_message_of_20_mb_passes(session: dict[str, Any]) -> None:
    async def send() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            return await client.evaluate(f"'{'x' * (20 * MIB)}'.length", page)

    assert run(send()) == 20 * MIB


_BROKEN = [
    b"\x81\x02{}",  # a client must mask
    _frame(0xF1, b"{}"),  # reserved bits
    _frame(0x83, b"{}"),  # reserved opcode
    _frame(0x80, b"{}"),  # continuation of nothing
    _frame(0x09, b"x"),  # a control frame in fragments
    b"\x88\x01" + b"abcd" + b"x",  # a close code of one byte
    b"GET / HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("frame", _BROKEN)
def test_broken_frames(shared_daemon: Daemon, session: dict[str, Any], frame: bytes) -> None:
    received = _close_frame(shared_daemon, session, frame)
    assert received[0] == 0x88
    assert shared_daemon.show(session["id"])["state"] == "ready"


def test_clients_that_do_not_answer_a_close_frame_are_cut(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    """After some seconds, in which each can read why."""

    def wait_for_the_end(frame: bytes) -> bytes:
        received = b""
        with _upgraded(shared_daemon, session) as raw:
            raw.sendall(frame)
            while chunk := raw.recv(4096):
                received += chunk
        return received

    frames = [*_BROKEN, _NOT_UTF8]
    with concurrent.futures.ThreadPoolExecutor(len(frames)) as threads:
        for received in threads.map(wait_for_the_end, frames):
            assert received[0] == 0x88
            assert len(received) == 2 + received[1], "the close frame is the last"


@contextlib.contextmanager
def _upgraded(daemon: Daemon, session: dict[str, Any]) -> Iterator[socket.socket]:
    """A bare socket after the WebSocket's handshake."""
    host, port = daemon.authority.rsplit(":", 1)
    path = session["webSocketDebuggerUrl"].split(daemon.authority)[1]
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {daemon.authority}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(request.encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 101")
        yield raw


def _close_frame(daemon: Daemon, session: dict[str, Any], data: bytes) -> bytes:
    """The frame that is the answer to these bytes; this end closes after it, as clients do."""
    received = b""
    with _upgraded(daemon, session) as raw:
        raw.sendall(data)
        while len(received) < 2 or len(received) < 2 + received[1]:
            chunk = raw.recv(4096)
            assert chunk, f"closed after {received!r}"
            received += chunk
    return received


def test_many_at_once_do_the_others_no_harm(
    shared_daemon: Daemon, new_session: Callable[..., dict[str, Any]]
) -> None:
    good, bad = new_session(), new_session()

    async def abuse() -> None:
        async with connect(good["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()

            async def one() -> None:
                async with connect(bad["webSocketDebuggerUrl"]) as rude:
                    for text, _ in _GARBAGE:
                        await rude.socket.send_str(text)
                    await rude.socket.send_bytes(b"x")
                    await rude.closed()

            work = [asyncio.create_task(one()) for _ in range(20)]
            for number in range(50):
                assert await client.evaluate(f"{number}+1", page) == number + 1
            await asyncio.gather(*work)

    run(abuse())
    for session in (good, bad):
        assert shared_daemon.show(session["id"])["state"] == "ready"
        assert shared_daemon.delete(session["id"]) == 204
