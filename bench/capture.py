"""Cost of capture for a page: loads with and without it, in turn.

One session keeps responses with their bodies, the other keeps none.

From a server as far away as a near one is on the Internet; and from one on this machine, where
nothing is waited for and all that Chrome itself does to report the network is seen: that alone
slows this page by a quarter, whoever reads it. Once with a client that listens to the network, as
Puppeteer and Playwright always do and so has had that anyway, and once with one that does not.
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

from testing.cdp import Cdp, connect
from testing.daemon import Daemon, wait_for

_SMALL, _LARGE_BYTES = 30, 1_000_000
_ROUNDS = 40
_FAR_S = 0.02
"""Until a server in the same country answers."""
_PAUSE_S = 0.15
"""Between loads, as where somebody reads the page."""
_FIRST = 5
"""Loads that do not count: both Chromes are still finding their feet."""


class _Site(http.server.ThreadingHTTPServer):
    """A page of thirty small things and a large one, each answered after ``delay_s``. Nothing is
    cached."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay_s = delay_s


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

    server: _Site

    def do_GET(self) -> None:
        time.sleep(self.server.delay_s)
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


class _Side:
    """A session, of the two that are compared."""

    def __init__(self, client: Cdp, page: str, domains: tuple[str, ...]) -> None:
        self._client, self._page, self._domains = client, page, domains
        self.same: list[float] = []
        self.fresh: list[float] = []

    @classmethod
    async def open(cls, client: Cdp, domains: tuple[str, ...]) -> _Side:
        """With the page that stays."""
        _, page = await _open_page(client, domains)
        return cls(client, page, domains)

    async def load(self, url: str) -> None:
        """Once in the page that stays, once in a new one."""
        self.same.append(await _load_s(self._client, self._page, url))
        await asyncio.sleep(_PAUSE_S)
        self.fresh.append(await self._fresh_load_s(url))
        await asyncio.sleep(_PAUSE_S)

    async def _fresh_load_s(self, url: str) -> float:
        """The page's opening included: capture meets every page before it runs."""
        began = time.perf_counter()
        target, page = await _open_page(self._client, self._domains)
        await _load_s(self._client, page, url)
        taken = time.perf_counter() - began
        await self._client.call("Target.closeTarget", {"targetId": target})
        return taken

    def medians(self) -> tuple[float, float]:
        """Seconds, of the loads that count."""
        return statistics.median(self.same[_FIRST:]), statistics.median(self.fresh[_FIRST:])


async def _open_page(client: Cdp, domains: tuple[str, ...]) -> tuple[str, str]:
    target, page = await client.open_page()
    for domain in domains:
        await client.call(f"{domain}.enable", session=page)
    return target, page


async def _compare(
    plain_url: str, kept_url: str, url: str, *, listening: bool
) -> tuple[_Side, _Side]:
    domains = ("Page", "Network") if listening else ("Page",)
    async with connect(plain_url) as one, connect(kept_url) as other:
        plain, kept = [await _Side.open(client, domains) for client in (one, other)]
        for number in range(_ROUNDS + _FIRST):
            sides = (plain, kept) if number % 2 else (kept, plain)  # neither is always the first
            for side in sides:
                await side.load(url)
    return plain, kept


def _check_kept(daemon: Daemon, session_id: str) -> None:
    """Assert that the measurement means something: the last load is there with its large body."""

    def bodies() -> int:
        answer = daemon.ask("GET", f"/v1/sessions/{session_id}/responses").json
        large = [r for r in answer["responses"] if (r["body_bytes"] or 0) >= _LARGE_BYTES]
        return bool(large) and len(answer["responses"]) > _SMALL

    wait_for(bodies, "the responses are kept, with their bodies")


def _figures(sides: tuple[_Side, _Side], kind: str) -> dict[str, Any]:
    (same, fresh), (same_kept, fresh_kept) = (side.medians() for side in sides)
    return {
        f"{kind}_page_load_ms": [round(value * 1000, 1) for value in (same, same_kept)],
        f"{kind}_page_load_captured_ratio": round(same_kept / same, 3),
        f"{kind}_new_page_load_ms": [round(value * 1000, 1) for value in (fresh, fresh_kept)],
        f"{kind}_new_page_load_captured_ratio": round(fresh_kept / fresh, 3),
    }


def _measure(daemon: Daemon, where: str, delay_s: float) -> dict[str, Any]:
    plain, kept = daemon.new(), daemon.new(capture={})
    plain_url, kept_url = (session["webSocketDebuggerUrl"] for session in (plain, kept))
    site, found = _Site(delay_s), dict[str, Any]()
    with serving(site):
        url = f"http://127.0.0.1:{site.server_port}/"
        for client, listening in (("listening", True), ("bare", False)):
            sides = uvloop.run(_compare(plain_url, kept_url, url, listening=listening))
            found |= _figures(sides, f"{where}_{client}")
            _check_kept(daemon, kept["id"])
    for session in (plain, kept):
        daemon.ask("DELETE", f"/v1/sessions/{session['id']}")
    return found


def run(folder: Path) -> dict[str, Any]:
    """The figures of this machine, now."""
    with Daemon(folder) as daemon:
        return _measure(daemon, "far", _FAR_S) | _measure(daemon, "local", 0.0)
