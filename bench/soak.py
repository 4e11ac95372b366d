"""``make soak``: a day in an hour. Thousands of sessions, each used in one of many ways, several at
a time, on one daemon; then the leak check: nothing may be left of them, and nothing may have grown.

``SESSIONS=200 make soak`` makes it shorter. The report goes to ``bench/results/``, outside git, and
the exit code tells whether every bound was kept.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import datetime
import json
import os
import re
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.capture import serving
from testing.cdp import Cdp, connect, run
from testing.daemon import Answer, Daemon, wait_for
from testing.leak_check import LeakCheck, is_zombie
from testing.site import Site

_RESULTS = Path(__file__).parent / "results"
_SESSIONS = 2000
_WORKERS = 4
_EVERY_S = 0.5
_GROWTH, _GROWTH_OF_FEW = 1.1, 1.15
"""Memory of the last tenth of the sessions against that of the second. While there are few, what is
kept of a hundred ended sessions and of a thousand events still fills up."""
_FEW = 1000
_MOST_ERRORS = 20
_SETTINGS: dict[str, object] = {
    "warm_sessions": 1,
    "creations_per_minute": 0,
    "breaker_failures": 1000,  # a start that nobody waits for any more is no fault of Chrome's
    "pool_memory_bytes": "4GiB",
}
_SAVE = (
    "(() => { const a = document.createElement('a'); a.download = 'saved.txt';"
    "a.href = URL.createObjectURL(new Blob(['saved'])); a.click(); })()"
)
_REASON = re.compile(r'^chromepool_sessions_ended_total\{reason="(\w+)"\} (\d+)', re.MULTILINE)

Json = dict[str, Any]


def vanish(client: Cdp) -> None:
    """Reset the connection, without a word."""
    transport = client.socket._writer.transport
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class _Site(Site):
    def handle_error(self, request: object, client_address: object) -> None:
        """Visitors that vanish are what this is about."""


class _Visitor:
    """Users of the daemon; each method makes one session, uses it and ends it."""

    def __init__(self, daemon: Daemon, site: Site) -> None:
        self._daemon, self._site = daemon, site

    def kinds(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        return [
            self.opens_pages,
            self.has_only_curl,
            self.reads_what_was_captured,
            self.has_scripts,
            self.reads_the_console,
            self.connects_and_goes,
            self.vanishes,
            self.loses_its_chrome,
            self.loses_a_tab,
            self.closes_the_browser,
            self.vanishes_for_a_while,
            self.hangs_up,
            self.is_idle,
            self.downloads,
            self.wants_a_chrome_of_its_own,
            self.asks_for_what_there_is_not,
            self.listens,
        ]

    def _ask(self, session: Json, path: str, method: str = "GET", body: object = None) -> Answer:
        answer = self._daemon.ask(method, f"/v1/sessions/{session['id']}{path}", body)
        assert answer.status in (200, 201, 204), (path, answer.body)
        return answer

    @contextlib.contextmanager
    def _session(self, **capture_options: object) -> Iterator[Json]:
        """A session, ended after this block whatever has become of it."""
        session = self._daemon.new(**capture_options)
        try:
            yield session
        finally:
            status = self._daemon.delete(session["id"])
        assert status == 204

    async def _visit(self, client: Cdp, path: str) -> str:
        _, page = await client.open_page()
        await client.call("Page.enable", session=page)
        await client.call("Page.navigate", {"url": self._site.url(path)}, page)
        await client.wait_event("Page.loadEventFired")
        return page

    async def opens_pages(self) -> None:
        with self._session() as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                for path in ("/page", "/frames", "/page"):
                    page = await self._visit(client, path)
                    assert await client.evaluate("6*7", page) == 42
                    await client.call("Page.captureScreenshot", session=page)

    async def has_only_curl(self) -> None:
        with self._session() as session:
            base = f"/sessions/{session['id']}"
            assert (
                self._daemon.get(f"{base}/json/new?{self._site.url('/page')}", "PUT").status == 200
            )
            wait_for(lambda: "chromepool" in self._titles(base), "it is loaded")
            assert b"A page" in self._ask(session, "/content").body
            assert self._ask(session, "/screenshot?full=1").body.startswith(b"\x89PNG")
            assert self._ask(session, "/pdf").body.startswith(b"%PDF")

    def _titles(self, base: str) -> list[str]:
        return [target["title"] for target in self._daemon.get(f"{base}/json/list").json]

    async def reads_what_was_captured(self) -> None:
        with self._session(capture={}) as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await self._visit(client, "/frames")

            def has_bodies() -> bool:
                found = self._ask(session, "/responses").json["responses"]
                return any(response["body_bytes"] for response in found)

            wait_for(has_bodies, "bodies are kept")
            assert self._ask(session, "/har").json["log"]["entries"]

    async def has_scripts(self) -> None:
        script = {"name": "a", "source": "window.mark = 1"}
        with self._session(scripts=[script]) as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                self._ask(session, "/scripts", "POST", {"name": "b", "source": "window.mark += 2"})
                page = await self._visit(client, "/page")
                assert await client.evaluate("window.mark", page) == 3
                self._ask(session, "/scripts/b", "DELETE")

    async def reads_the_console(self) -> None:
        with self._session(console=True) as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                page = await self._visit(client, "/page")
                say = "for (let n = 0; n < 200; n++) console.log('x'.repeat(2000)); 0"
                await client.evaluate(say, page)
            wait_for(lambda: self._ask(session, "/console").json["messages"], "it was said")
            self._ask(session, "/stderr")

    async def connects_and_goes(self) -> None:
        async with connect(self._daemon.ws_url) as client:
            page = await self._visit(client, "/page")
            assert await client.evaluate("document.title", page) == "chromepool"

    async def vanishes(self) -> None:
        """With requests that it holds, and answers on the way."""
        async with connect(self._daemon.ws_url) as client:
            _, page = await client.open_page()
            await client.call("Fetch.enable", session=page)
            await client.send("Page.navigate", {"url": self._site.url("/page")}, page)
            await client.wait_event("Fetch.requestPaused")
            for _ in range(20):
                await client.send("Runtime.evaluate", {"expression": "'x'.repeat(9999)"}, page)
            vanish(client)

    async def loses_its_chrome(self) -> None:
        with self._session(capture={}, console=True) as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await self._visit(client, "/page")
                os.kill(session["pid"], signal.SIGKILL)
                assert (await client.closed())[0] == 1011
            assert self._daemon.wait_ended(session["id"])["exit"]["reason"] == "crashed"

    async def loses_a_tab(self) -> None:
        with self._session() as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                page = await self._visit(client, "/page")
                await client.call("Inspector.enable", session=page)
                await client.send("Page.crash", session=page)
                await client.wait_event("Inspector.targetCrashed")
                await self._visit(client, "/page")

    async def closes_the_browser(self) -> None:
        with self._session() as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await self._visit(client, "/page")
                await client.send("Browser.close")
                await client.closed()
            assert self._daemon.wait_ended(session["id"])["exit"]["reason"] == "client_closed"

    async def vanishes_for_a_while(self) -> None:
        """Leave and find the session again, with a popup that nobody has let run."""
        with self._session(console=True) as session:
            wait = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
            async with connect(session["webSocketDebuggerUrl"]) as client:
                page = await self._visit(client, "/page")
                client.events.clear()
                await client.call("Target.setAutoAttach", wait)
                await client.send("Runtime.evaluate", {"expression": "window.open('/page')"}, page)
                while not (await client.wait_event("Target.attachedToTarget"))["params"][
                    "waitingForDebugger"
                ]:
                    """Those that were there already."""
                vanish(client)
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await self._visit(client, "/page")

    async def hangs_up(self) -> None:
        """While its session is being made."""
        connector = aiohttp.UnixConnector(str(self._daemon.control_socket))
        patience = aiohttp.ClientTimeout(total=0.05)
        body = {"flags": ["--lang=de"]}
        async with aiohttp.ClientSession("http://localhost", connector=connector) as http:
            with contextlib.suppress(TimeoutError):
                await http.post("/v1/sessions", json=body, timeout=patience)

    async def is_idle(self) -> None:
        with self._session(idle_timeout_s=0.5) as session:
            assert self._daemon.wait_ended(session["id"])["exit"]["reason"] == "idle_timeout"

    async def downloads(self) -> None:
        with self._session(downloads="allow") as session:
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await client.evaluate(_SAVE, await self._visit(client, "/page"))
            wait_for(lambda: self._ask(session, "/downloads").json["downloads"], "it is listed")
            # Its name is there before it is: Chrome keeps the place with an empty file.
            path = "/downloads/saved.txt"
            wait_for(lambda: self._ask(session, path).body == b"saved", "it is saved")

    async def wants_a_chrome_of_its_own(self) -> None:
        """Some options cannot be had from one that waits; and it leaves a context behind."""
        size = {"width": 800, "height": 600}
        with self._session(ignore_certificate_errors=True, viewport=size) as session:
            first = self._daemon.get(f"/sessions/{session['id']}/json/list").json[0]
            async with connect(first["webSocketDebuggerUrl"]) as client:
                assert await client.evaluate("innerWidth") == 800
            async with connect(session["webSocketDebuggerUrl"]) as client:
                context = await client.call("Target.createBrowserContext")
                params = {"url": self._site.url("/page")} | context
                await client.call("Target.createTarget", params)

    async def asks_for_what_there_is_not(self) -> None:
        answer = self._daemon.ask("POST", "/v1/sessions", {"timezone": "Moon/Crater"})
        assert answer.status == 400, answer.body

    async def listens(self) -> None:
        connector = aiohttp.UnixConnector(str(self._daemon.control_socket))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as http,
            http.get("/v1/events") as stream,
        ):
            session = await asyncio.to_thread(self._daemon.new)
            await stream.content.readline()
            assert await asyncio.to_thread(self._daemon.delete, session["id"]) == 204


class _LeakCheck(LeakCheck):
    """Leak check with samples of what may grow from session to session."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon, pause_s=1.0)
        self._supervisor, self._gateway = psutil.Process(daemon.pid), daemon.gateway

    def sample(self) -> dict[str, int]:
        """Return counts that may grow."""
        both = (("supervisor", self._supervisor), ("gateway", self._gateway))
        found = {f"{name}_rss": process.memory_info().rss for name, process in both}
        found |= {f"{name}_fds": process.num_fds() for name, process in both}
        found |= {f"{name}_threads": process.num_threads() for name, process in both}
        # Asked last: the connection of a question may be there for a moment after its answer.
        status = self._daemon.ask("GET", "/v1/status").json
        return found | {
            "gateway_tasks": status["gateway"]["tasks"],
            "cgroups": len(self._daemon.leaves()),
            "profiles": len(self._daemon.profiles()),
            "chromes": len(self._daemon.chromes()),
            "clients": status["clients"]["now"],
        }

    def count(self) -> dict[str, int]:
        """Return counts that have to be the same in the end."""
        counted = {name: n for name, n in self.sample().items() if not name.endswith("_rss")}
        below = self._below()
        return counted | {
            "processes": len(set(below) - self._of_chromes()),
            "zombies": sum(is_zombie(process) for process in below),
            "mounts": self._mounts(),
            "files": self._files(),
        }

    @property
    def same_gateway(self) -> bool:
        """Report whether the daemon has lived all the time."""
        return self._gateway.is_running()


class Soak:
    """A run of the soak."""

    def __init__(self, daemon: Daemon, site: Site, sessions: int) -> None:
        self._daemon, self._sessions = daemon, sessions
        self._kinds = _Visitor(daemon, site).kinds()
        self._leak_check = _LeakCheck(daemon)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self._took: dict[str, list[float]] = collections.defaultdict(list)
        self._errors: list[str] = []
        self._samples: list[dict[str, float]] = []

    def run(self) -> Json:
        """The report."""
        for kind in self._kinds:  # what is loaded once is loaded before the count
            run(kind())
        self._leak_check.open()
        began = time.monotonic()
        sampler = threading.Thread(target=self._sample, args=(began,))
        sampler.start()
        with concurrent.futures.ThreadPoolExecutor(_WORKERS) as workers:
            list(workers.map(self._one, range(self._sessions)))
        self._over.set()
        sampler.join()
        return self._report(time.monotonic() - began)

    def _one(self, number: int) -> None:
        kind = self._kinds[number % len(self._kinds)]
        if len(self._errors) >= _MOST_ERRORS:
            return
        began = time.monotonic()
        try:
            run(kind())
        except Exception:
            self._errors.append(f"{kind.__name__}: {traceback.format_exc(limit=-3)}")
        with self._lock:
            self._done += 1
            self._took[kind.__name__].append(time.monotonic() - began)

    def _sample(self, began: float) -> None:
        while not self._over.is_set():
            try:
                found = self._leak_check.sample()
            except (OSError, KeyError, psutil.Error) as error:
                self._errors.append(f"no sample: {error!r}")
                return
            self._samples.append({"at_s": time.monotonic() - began, "done": self._done} | found)
            self._over.wait(_EVERY_S)

    # -- the report --

    def _tenth(self, number: int, name: str) -> float:
        """The median of one tenth of the sessions; the first is 1."""
        low, high = (self._sessions * n / 10 for n in (number - 1, number))
        taken = [s[name] for s in self._samples if low <= s["done"] < high]
        return statistics.median(taken) if taken else 0.0

    def _growth(self, name: str) -> float:
        second = self._tenth(2, name)
        return round(self._tenth(10, name) / second, 3) if second else 0.0

    def _tenths(self, name: str) -> list[float]:
        divide = 1 << 20 if name.endswith("_rss") else 1
        return [round(self._tenth(number, name) / divide, 1) for number in range(1, 11)]

    def _report(self, took_s: float) -> Json:
        left = self._leak_check.left_over()
        names = [name for name in self._samples[0] if name not in ("at_s", "done")]
        page = self._daemon.ask("GET", "/metrics").body.decode()
        return {
            "sessions": self._done,
            "took_s": round(took_s, 1),
            "sessions_per_minute": round(self._done / took_s * 60, 1),
            "ended": {reason: int(count) for reason, count in _REASON.findall(page) if int(count)},
            "median_s": {k: round(statistics.median(v), 2) for k, v in self._took.items()},
            "gateway_rss_growth": self._growth("gateway_rss"),
            "supervisor_rss_growth": self._growth("supervisor_rss"),
            "tenths": {name: self._tenths(name) for name in names},
            "most": {name: max(s[name] for s in self._samples) for name in names},
            "before": self._leak_check.before,
            "left_over": left,
            "gateway_restarted": not self._leak_check.same_gateway,
            "errors": self._errors,
        }


def broken(report: Json) -> list[str]:
    """The bounds that were not kept."""
    growth = _GROWTH_OF_FEW if report["sessions"] < _FEW else _GROWTH
    found = [f"{name} was {n[0]}, is {n[1]}" for name, n in report["left_over"].items()]
    for name in ("gateway_rss_growth", "supervisor_rss_growth"):
        if not 0 < report[name] <= growth:
            found.append(f"{name} is {report[name]}, over {growth}")
    if report["gateway_restarted"]:
        found.append("the gateway died")
    return found + list(report["errors"])


def soak(folder: Path, sessions: int) -> Json:
    """Run the soak on a daemon of its own and return the report."""
    site = _Site()
    with serving(site), Daemon(folder, **_SETTINGS) as daemon:
        return Soak(daemon, site, sessions).run()


def main() -> None:
    """Print the report and keep it in a file."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        report = soak(Path(folder), int(os.environ.get("SESSIONS", _SESSIONS)))
    report["broken"] = broken(report)
    text = json.dumps(report, indent=2)
    _RESULTS.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    (_RESULTS / f"soak-{now}.json").write_text(text)
    print(text)
    sys.exit(1 if report["broken"] else 0)


if __name__ == "__main__":
    main()
