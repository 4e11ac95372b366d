"""Persistent scripts with real Chrome: in every document, beside clients' own."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testing.cdp import Cdp, connect, run
from testing.daemon import Answer, Daemon, wait_for
from testing.node import script
from testing.site import Site

NewSession = Callable[..., dict[str, Any]]
MARK = "window.marks = (window.marks || '') + '{}'"


def _ask(
    daemon: Daemon, session: dict[str, Any], method: str, path: str, body: Any = None
) -> Answer:
    return daemon.ask(method, f"/v1/sessions/{session['id']}/scripts{path}", body)


def _names(daemon: Daemon, session: dict[str, Any]) -> list[str]:
    return [script["name"] for script in _ask(daemon, session, "GET", "").json["scripts"]]


async def _marks(client: Cdp, url: str = "data:text/html,x") -> Any:
    """What the scripts have left in a new page."""
    _, page = await client.open_page()
    return await _go(client, page, url)


async def _go(client: Cdp, page: str, url: str) -> Any:
    await client.call("Page.enable", session=page)
    await client.call("Page.navigate", {"url": url}, page)
    await client.wait_event("Page.loadEventFired")
    return await client.evaluate("window.marks", page)


def test_added_replaced_and_removed_everywhere_and_in_order(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            assert await _go(client, page, "data:text/html,0") is None
            for name in ("a", "b", "c"):
                body = {"name": name, "source": MARK.format(name)}
                assert _ask(shared_daemon, session, "POST", "", body).status == 201
            assert await client.evaluate("window.marks", page) is None
            assert await _go(client, page, "data:text/html,1") == "abc"
            assert await _marks(client) == "abc"
            put = _ask(shared_daemon, session, "PUT", "/b", {"source": MARK.format("B")})
            assert put.status == 200
            assert await _go(client, page, "data:text/html,2") == "aBc"
            assert _ask(shared_daemon, session, "DELETE", "/a").status == 204
            assert await _go(client, page, "data:text/html,3") == "Bc"
            assert await _marks(client) == "Bc"

    run(scenario())
    assert _names(shared_daemon, session) == ["b", "c"]
    assert _ask(shared_daemon, session, "GET", "/b").json["source"] == MARK.format("B")

    async def another_client() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            return await _marks(client)

    assert run(another_client()) == "Bc"


def test_at_once_in_the_open_pages_and_in_a_world_of_its_own(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await _go(client, page, "data:text/html,x")
            body = {"name": "now", "source": MARK.format("n"), "run_now": True}
            assert _ask(shared_daemon, session, "POST", "", body).status == 201
            assert await client.evaluate("window.marks", page) == "n"
            # Its variables are its own; the document is everybody's, once there is one.
            tell = "addEventListener('DOMContentLoaded', () => { document.title = window.hidden })"
            hidden = {"name": "w", "source": f"window.hidden = 'w'; {tell}", "world": "apart"}
            assert _ask(shared_daemon, session, "POST", "", hidden).status == 201
            await _go(client, page, "data:text/html,<p>y")
            found = await client.evaluate("[document.title, window.hidden, window.marks]", page)
            assert found == ["w", None, "n"]

    run(scenario())


def test_before_the_pages_own_in_frames_popups_and_contexts(
    shared_daemon: Daemon, session: dict[str, Any], site: Site
) -> None:
    body = {"name": "a", "source": "window.mark = document.documentElement ? 1 : 1"}
    assert _ask(shared_daemon, session, "POST", "", body).status == 201

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            early = "data:text/html,<script>window.seen = window.mark</script>"
            await _go(client, page, early)
            assert await client.evaluate("window.seen", page) == 1
            context = (await client.call("Target.createBrowserContext"))["browserContextId"]
            params = {"url": "about:blank", "browserContextId": context}
            target = (await client.call("Target.createTarget", params))["targetId"]
            other = await client.attach(target)
            await _go(client, other, early)
            assert await client.evaluate("window.seen", other) == 1
            opened = "(() => { window.other = window.open('about:blank'); return other.mark; })()"
            await client.evaluate(opened, page)
            assert await client.evaluate("window.other.mark", page) == 1

    run(scenario())


@pytest.mark.parametrize("client", ["puppeteer", "playwright"])
def test_beside_a_clients_own_init_scripts_popups_frames_and_workers(
    shared_daemon: Daemon, session: dict[str, Any], site: Site, client: str
) -> None:
    body = {"name": "a", "source": "window.kept_mark = 7"}
    assert _ask(shared_daemon, session, "POST", "", body).status == 201
    params = {"endpoint": session["webSocketDebuggerUrl"], "url": site.url("/frames")}
    found = script("emulation.mjs", client, json.dumps(params))
    assert found["mine"] == 1
    assert found["own"] == 321
    assert found["worker"]["agent"]
    for where in ("early", "frame", "popup", "context"):
        assert found[where]["mark"] == 7, where


def test_a_frame_of_another_site_has_them(
    shared_daemon: Daemon, session: dict[str, Any], site: Site
) -> None:
    _ask(shared_daemon, session, "POST", "", {"name": "a", "source": MARK.format("a")})

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            auto = {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True}
            await client.call("Target.setAutoAttach", auto, page)
            await client.call("Page.navigate", {"url": site.url("/frames")}, page)
            while True:
                event = await client.wait_event("Target.attachedToTarget")
                if event["params"]["targetInfo"]["type"] == "iframe":
                    break
            frame = event["params"]["sessionId"]
            ready = "new Promise(r => document.readyState == 'complete' ? r() : onload = r)"
            await client.evaluate(ready, frame)
            return await client.evaluate("window.marks", frame)

    assert run(scenario()) == "a"


@pytest.mark.parametrize("kind", ["Worker", "SharedWorker"])
def test_workers_are_left_alone(new_session: NewSession, site: Site, kind: str) -> None:
    session = new_session(scripts=[{"name": "a", "source": "globalThis.kept_mark = 7"}])
    code = (
        "const tell = (port) => port.postMessage(typeof kept_mark);"
        "if ('onconnect' in self) onconnect = (e) => tell(e.ports[0]); else tell(self);"
    )
    ask = f"""new Promise((resolve) => {{
      const worker = new {kind}(URL.createObjectURL(new Blob([{json.dumps(code)}])));
      (worker.port ?? worker).onmessage = (event) => resolve([event.data, window.kept_mark]);
    }})"""

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await _go(client, page, site.url("/page"))
            return await client.evaluate(ask, page)

    assert run(scenario()) == ["undefined", 7]


@pytest.mark.parametrize("world", ["", "apart"])
def test_a_document_without_a_script_of_its_own_has_them_too(
    shared_daemon: Daemon, session: dict[str, Any], site: Site, world: str
) -> None:
    """Though no client evaluates anything in it, or listens to what runs there."""
    visits: list[None] = []
    site.on_visit = lambda: visits.append(None)

    def is_visited(times: int) -> bool:
        return len(visits) == times

    async def load(client: Cdp, page: str, path: str) -> None:
        await client.call("Page.enable", session=page)
        await client.call("Page.navigate", {"url": site.url(path)}, page)
        await client.wait_event("Page.loadEventFired")

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, open_already = await client.open_page()
            await load(client, open_already, "/page")
            body = {"name": "a", "source": "fetch('/stop')", "world": world}
            assert _ask(shared_daemon, session, "POST", "", body).status == 201
            _, new = await client.open_page()
            for number, page in enumerate((open_already, new), 1):
                await load(client, page, f"/page?{number}")
                wait_for(functools.partial(is_visited, number), "the script has run")

    run(scenario())


def test_one_that_is_not_to_run_now_does_not_run_in_an_open_document_later(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    """Not even in one that has had no script so far."""

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Page.enable", session=page)
            await client.call("Page.navigate", {"url": "data:text/html,<p>x"}, page)
            await client.wait_event("Page.loadEventFired")
            body = {"name": "a", "source": MARK.format("a")}
            assert _ask(shared_daemon, session, "POST", "", body).status == 201
            return await client.evaluate("window.marks", page)

    assert run(scenario()) is None


def test_service_workers_are_left_alone(new_session: NewSession, site: Site) -> None:
    session = new_session(scripts=[{"name": "a", "source": "globalThis.kept_mark = 7"}])
    ask = """new Promise(async (resolve) => {
      navigator.serviceWorker.onmessage = (event) => resolve([event.data, window.kept_mark]);
      await navigator.serviceWorker.register('/service_worker.js');
      (await navigator.serviceWorker.ready).active.postMessage('typeof kept_mark');
    })"""

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await _go(client, page, site.url("/page"))
            return await client.evaluate(ask, page)

    assert run(scenario()) == ["undefined", 7]


def test_given_at_creation_they_are_there_from_the_first_document(
    new_session: NewSession,
) -> None:
    session = new_session(scripts=[{"name": "a", "source": MARK.format("a")}])

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            return await _marks(client)

    assert run(scenario()) == "a"


def test_limits_at_the_edge_and_one_past(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, max_scripts=3, max_script_bytes=100) as daemon:
        session = daemon.new()
        source = "/" * 100
        for number in range(3):
            body = {"name": f"s{number}", "source": source}
            assert _ask(daemon, session, "POST", "", body).status == 201
        full = _ask(daemon, session, "POST", "", {"name": "s3", "source": "1"})
        assert (full.status, full.json["code"]) == (409, "store_full")
        assert _ask(daemon, session, "PUT", "/s1", {"source": source}).status == 200
        long = _ask(daemon, session, "PUT", "/s1", {"source": source + "/"})
        assert (long.status, long.json["code"]) == (400, "invalid_request")
        again = _ask(daemon, session, "POST", "", {"name": "s1", "source": "1"})
        assert (again.status, again.json["code"]) == (409, "script_exists")
        gone = _ask(daemon, session, "DELETE", "/none")
        assert (gone.status, gone.json["code"]) == (404, "script_not_found")
        assert _ask(daemon, session, "PUT", "/a%2Fb", {"source": "1"}).status in (400, 404)
        many = {"scripts": [{"name": f"s{n}", "source": "1"} for n in range(4)]}
        answer = daemon.ask("POST", "/v1/sessions", many)
        assert (answer.status, answer.json["code"]) == (409, "store_full")
        assert len(daemon.chromes()) == 1
        assert _names(daemon, session) == ["s0", "s1", "s2"]
