"""What capture costs a page: loads in a session that keeps responses, with their bodies, and in one
that does not, taken in turn.

Once with a client that listens to the network, as Puppeteer and Playwright always do, and once with
one that does not: Chrome's own reports of the network slow this page by an eighth, whoever reads
them, and nothing of that is capture's when a client has them already.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from tests.cdp import Cdp, connect
from tests.daemon import Daemon, wait_for

_SMALL, _LARGE_BYTES = 30, 1_000_000
_ROUNDS = 60
_PAUSE_S = 0.15
"""Between loads, as where somebody reads the page."""
_FIRST = 5
"""Loads that do not count: both Chromes are still finding their feet."""


class _Site(http.server.ThreadingHTTPServer):
    """A page of thirty small things and a large one. Nothing is cached."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)


def _page() -> bytes:
    scripts = "".join(f'<script async src="/{n}.js"></script>' for n in range(_SMALL // 2))
    styles = "".join(f'<link rel=stylesheet href="/{n}.css">' for n in range(_SMALL // 2))
    large = '<script async src="/large.js"></script>'
    return f"<!doctype html><title>heavy</title>{styles}{scripts}{large}<p>loaded".encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write
    disable_nagle_algorithm = True
    bodies = {  # noqa: RUF012
        ".js": ("text/javascript", b"// " + b"small " * 300),
        ".css": ("text/css", b"/* " + b"small " * 300 + b"*/"),
        "large.js": ("text/javascript", b"// " + b"x" * _LARGE_BYTES),
        "/": ("text/html", _page()),
    }

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        suffixes = ("large.js", ".js", ".css", "/")
        kind, body = self.bodies[next(s for s in suffixes if name.endswith(s))]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def serving(server: http.server.HTTPServer) -> Iterator[None]:
    """The server answers, in a thread of its own, inside this block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with server:
            yield
            server.shutdown()
    finally:
        server.shutdown()
        thread.join()


async def _load_s(client: Cdp, page: str, url: str) -> float:
    """Seconds from the command to the load event, as the client sees them."""
    client.events.clear()
    began = time.perf_counter()
    await client.call("Page.navigate", {"url": url}, page)
    await client.wait_event("Page.loadEventFired")
    return time.perf_counter() - began


async def _fresh_load_s(client: Cdp, url: str) -> float:
    """The same in a new page, its opening included: capture meets every page before it runs."""
    began = time.perf_counter()
    target, page = await client.open_page()
    await client.call("Page.enable", session=page)
    await _load_s(client, page, url)
    taken = time.perf_counter() - began
    await client.call("Target.closeTarget", {"targetId": target})
    return taken


class _Side:
    """One of the two sessions."""

    def __init__(self, client: Cdp, page: str) -> None:
        self._client, self._page = client, page
        self.same: list[float] = []
        self.fresh: list[float] = []

    async def load(self, url: str) -> None:
        self.same.append(await _load_s(self._client, self._page, url))
        await asyncio.sleep(_PAUSE_S)
        self.fresh.append(await _fresh_load_s(self._client, url))
        await asyncio.sleep(_PAUSE_S)

    def medians(self) -> tuple[float, float]:
        return statistics.median(self.same[_FIRST:]), statistics.median(self.fresh[_FIRST:])


async def _open(client: Cdp, *, listening: bool) -> _Side:
    _, page = await client.open_page()
    await client.call("Page.enable", session=page)
    if listening:
        await client.call("Network.enable", session=page)
    return _Side(client, page)


async def _compare(
    plain_url: str, kept_url: str, url: str, *, listening: bool
) -> tuple[_Side, _Side]:
    async with connect(plain_url) as one, connect(kept_url) as other:
        plain, kept = [await _open(client, listening=listening) for client in (one, other)]
        for number in range(_ROUNDS + _FIRST):
            sides = (plain, kept) if number % 2 else (kept, plain)  # neither is always the first
            for side in sides:
                await side.load(url)
    return plain, kept


def _check_kept(daemon: Daemon, session_id: str) -> None:
    """It was worth measuring: the last load is there, its large body too."""

    def bodies() -> int:
        answer = daemon.ask("GET", f"/v1/sessions/{session_id}/responses").json
        large = [r for r in answer["responses"] if (r["body_bytes"] or 0) >= _LARGE_BYTES]
        return bool(large) and len(answer["responses"]) > _SMALL

    wait_for(bodies, "the responses are kept, with their bodies")


def _figures(sides: tuple[_Side, _Side], client: str) -> dict[str, Any]:
    (same, fresh), (same_kept, fresh_kept) = (side.medians() for side in sides)
    return {
        f"{client}_page_load_ms": [round(value * 1000, 1) for value in (same, same_kept)],
        f"{client}_page_load_captured_ratio": round(same_kept / same, 3),
        f"{client}_new_page_load_ms": [round(value * 1000, 1) for value in (fresh, fresh_kept)],
        f"{client}_new_page_load_captured_ratio": round(fresh_kept / fresh, 3),
    }


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    site = _Site()
    found: dict[str, Any] = {}
    with serving(site), Daemon(folder) as daemon:
        plain, kept = daemon.new(), daemon.new(capture={})
        plain_url, kept_url = (session["webSocketDebuggerUrl"] for session in (plain, kept))
        url = f"http://127.0.0.1:{site.server_port}/"
        for client, listening in (("listening", True), ("bare", False)):
            work = _compare(plain_url, kept_url, url, listening=listening)
            found |= _figures(uvloop.run(work), client)
            _check_kept(daemon, kept["id"])
    return found
