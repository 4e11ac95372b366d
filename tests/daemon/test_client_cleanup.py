"""Nothing of a client remains in Chrome after it is gone, with and without the daemon's own client
beside it. Real Chrome; the clients' connections are reset, without a word."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from testing.cdp import DEADLINE_S, WAIT, Cdp, connect, run, vanish
from testing.daemon import Daemon, wait_for
from testing.daemon_pool import Daemons
from testing.site import Site

MIB = 1024 * 1024
Session = dict[str, Any]
ATTENDED: Session = {
    "capture": {},
    "console": True,
    "scripts": [{"name": "kept", "source": "window.kept = 1"}],
}
KINDS = pytest.mark.parametrize("capture_options", [{}, ATTENDED], ids=["plain", "attended"])
DOORS = pytest.mark.parametrize("door", ["browser", "page"])


@pytest.fixture(params=[{}, ATTENDED], ids=["plain", "attended"])
def session(request: pytest.FixtureRequest, new_session: Callable[..., Session]) -> Session:
    return new_session(**request.param)


@contextlib.asynccontextmanager
async def _another(session: Session, target: str, door: str) -> AsyncIterator[tuple[Cdp, Any]]:
    """A second client of a page, by way of the browser's WebSocket or of the page's own."""
    if door == "page":
        host = session["devtools_url"].partition("//")[2]
        async with connect(f"ws://{host}/devtools/page/{target}") as client:
            yield client, None
    else:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            yield client, await client.attach(target)


async def _until(condition: Callable[[], Awaitable[Any]], what: str) -> None:
    end = time.monotonic() + DEADLINE_S / 2
    while not await condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.01)


async def _alone(daemon: Daemon, session: Session, clients: int = 1) -> None:
    """The daemon has noticed that the others are gone."""
    await asyncio.to_thread(
        wait_for, lambda: daemon.show(session["id"])["clients"] == clients, "they are gone"
    )


async def _load(client: Cdp, page: str, url: str) -> Any:
    await client.send("Page.navigate", {"url": url}, page)
    await client.wait_event("Page.loadEventFired")
    return await client.evaluate("document.title", page)


async def _opened(client: Cdp) -> tuple[str, str]:
    target, page = await client.open_page()
    await client.call("Page.enable", session=page)
    return target, page


# -- what it held --


@DOORS
@pytest.mark.parametrize("stage", ["Request", "Response"])
def test_a_load_that_it_held_goes_on(session: Session, site: Site, door: str, stage: str) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            target, page = await _opened(stays)
            async with _another(session, target, door) as (leaves, held):
                await leaves.call("Fetch.enable", {"patterns": [{"requestStage": stage}]}, held)
                await stays.send("Page.navigate", {"url": site.url("/frames")}, page)
                await leaves.wait_event("Fetch.requestPaused")
                vanish(leaves)
            await stays.wait_event("Page.loadEventFired")
            assert await stays.evaluate("document.title", page) == "frames"
            assert await _load(stays, page, site.url("/page")) == "chromepool", "it still holds"

    run(scenario())


def test_what_a_page_fetched_goes_on_with_nobody_there(
    shared_daemon: Daemon, session: Session, site: Site
) -> None:
    async def hold() -> str:
        async with connect(session["webSocketDebuggerUrl"]) as leaves:
            target, page = await _opened(leaves)
            await _load(leaves, page, site.url("/page"))
            await leaves.call("Fetch.enable", session=page)
            script = "fetch('/page').then(r => r.text()).then(t => window.answer = t.length); 0"
            await leaves.evaluate(script, page)
            await leaves.wait_event("Fetch.requestPaused")
            vanish(leaves)
        return target

    async def look(target: str) -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            page = await client.attach(target)
            await _until(lambda: client.evaluate("window.answer", page), "it was answered")

    target = run(hold())
    wait_for(lambda: not shared_daemon.show(session["id"])["clients"], "it is gone")
    run(look(target))


@pytest.mark.parametrize("features", ["", "noopener"])
def test_a_popup_that_it_paused_runs(session: Session, site: Site, features: str) -> None:
    """Paused as Playwright does it."""

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            _, page = await _opened(stays)
            await _load(stays, page, site.url("/page"))
            async with connect(session["webSocketDebuggerUrl"]) as leaves:
                before = await _targets(stays)
                await leaves.call("Target.setAutoAttach", WAIT)
                # No answer is waited for: a popup of the same site shares the page's process.
                call = f"window.open('{site.url('/frames')}', '_blank', '{features}'); 0"
                await stays.send("Runtime.evaluate", {"expression": call}, page)
                await _met(leaves, "page")
                (paused,) = set(await _targets(stays)) - set(before)
                vanish(leaves)
            popup = await stays.attach(paused)
            await _until(lambda: _is_titled(stays, popup, "frames"), "it runs")

    run(scenario())


@pytest.mark.parametrize("features", ["", "noopener"])
@pytest.mark.parametrize("below", [False, True], ids=["tab", "page"])
def test_a_popup_that_it_paused_by_its_tab_runs(
    session: Session, site: Site, features: str, below: bool
) -> None:
    """As Puppeteer does it; it vanishes before it has met the page, or after."""

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            _, page = await _opened(stays)
            await _load(stays, page, site.url("/page"))
            async with connect(session["webSocketDebuggerUrl"]) as leaves:
                before = await _targets(stays)
                tabs = {"filter": [{"type": "page", "exclude": True}, {}]}
                await leaves.call("Target.setAutoAttach", WAIT | tabs)
                call = f"window.open('{site.url('/frames')}', '_blank', '{features}'); 0"
                await stays.send("Runtime.evaluate", {"expression": call}, page)
                tab = await _met(leaves, "tab")
                if below:
                    await leaves.call("Target.setAutoAttach", WAIT | {"filter": [{}]}, tab)
                (paused,) = set(await _targets(stays)) - set(before)
                vanish(leaves)
            popup = await stays.attach(paused)
            await _until(lambda: _is_titled(stays, popup, "frames"), "it runs")

    run(scenario())


async def _met(client: Cdp, kind: str) -> str:
    """One of this kind waits for this client; its session."""
    while True:
        params = (await client.wait_event("Target.attachedToTarget"))["params"]
        if params["targetInfo"]["type"] == kind and params["waitingForDebugger"]:
            return str(params["sessionId"])


async def _is_titled(client: Cdp, page: str, title: str) -> bool:
    found = await client.evaluate("document.title", page)
    return bool(found == title)


@DOORS
def test_a_worker_that_it_paused_runs(session: Session, door: str) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            target, page = await _opened(stays)
            async with _another(session, target, door) as (leaves, held):
                await leaves.call("Target.setAutoAttach", WAIT, held)
                blob = "URL.createObjectURL(new Blob(['postMessage(5)']))"
                start = f"new Worker({blob}).onmessage = m => window.told = m.data; 0"
                await stays.evaluate(start, page)
                await _met(leaves, "worker")
                assert await stays.evaluate("window.told", page) is None
                vanish(leaves)
            await _until(lambda: stays.evaluate("window.told", page), "it runs")

    run(scenario())


@DOORS
def test_a_script_that_it_stopped_at_goes_on(session: Session, door: str) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            target, page = await _opened(stays)
            async with _another(session, target, door) as (leaves, held):
                await leaves.call("Debugger.enable", session=held)
                asked = await stays.send("Runtime.evaluate", {"expression": "debugger; 7"}, page)
                await leaves.wait_event("Debugger.paused")
                vanish(leaves)
            assert (await stays.answer(asked))["result"]["result"]["value"] == 7

    run(scenario())


@DOORS
def test_a_dialog_that_it_was_to_answer_closes(session: Session, door: str) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            target, page = await stays.open_page()
            async with _another(session, target, door) as (leaves, held):
                await leaves.call("Page.enable", session=held)
                asked = await stays.send("Runtime.evaluate", {"expression": "alert(1); 8"}, page)
                await leaves.wait_event("Page.javascriptDialogOpening")
                vanish(leaves)
            assert (await stays.answer(asked))["result"]["result"]["value"] == 8

    run(scenario())


def test_what_only_one_may_have_is_free_again(shared_daemon: Daemon, session: Session) -> None:
    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as stays:
            async with connect(url) as leaves:
                await leaves.call("Tracing.start", {"transferMode": "ReportEvents"})
                refused = await stays.ask("Tracing.start", {"transferMode": "ReportEvents"})
                assert "already" in refused["error"]["message"]
                vanish(leaves)
            await _alone(shared_daemon, session)
            await stays.call("Tracing.start", {"transferMode": "ReportEvents"})
            await stays.call("Tracing.end")
            await stays.wait_event("Tracing.tracingComplete")

    run(scenario())


# -- what it had set --

_SEEN = """[navigator.userAgent, innerWidth, Intl.DateTimeFormat().resolvedOptions().timeZone,
matchMedia('print').matches, navigator.onLine, window.theirs ?? null, window.kept ?? null]"""
_SET: list[tuple[str, dict[str, Any]]] = [
    ("Page.enable", {}),
    ("Network.enable", {}),
    ("Emulation.setUserAgentOverride", {"userAgent": "Theirs/1"}),
    (
        "Emulation.setDeviceMetricsOverride",
        {"width": 321, "height": 123, "deviceScaleFactor": 1, "mobile": False},
    ),
    ("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"}),
    ("Emulation.setEmulatedMedia", {"media": "print"}),
    ("Page.addScriptToEvaluateOnNewDocument", {"source": "window.theirs = 1"}),
    ("Network.setExtraHTTPHeaders", {"headers": {"X-Theirs": "1"}}),
]
_OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


@DOORS
def test_what_it_had_set_in_a_page_is_gone(session: Session, site: Site, door: str) -> None:
    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            target, page = await _opened(stays)
            await _load(stays, page, site.url("/page"))
            before = await stays.evaluate(_SEEN, page)
            async with _another(session, target, door) as (leaves, held):
                for method, params in _SET:
                    await leaves.call(method, params, held)
                await _load(stays, page, site.url("/page"))
                theirs = await stays.evaluate(_SEEN, page)
                assert theirs[:4] == ["Theirs/1", 321, "Asia/Tokyo", True]
                assert theirs[5:] == [1, before[6]]
                await leaves.call("Network.emulateNetworkConditions", _OFFLINE, held)
                await leaves.call("Emulation.setScriptExecutionDisabled", {"value": True}, held)
                vanish(leaves)

            async def is_as_before() -> bool:
                return bool(await stays.evaluate(_SEEN.replace("window.theirs", "0"), page)) and (
                    await _load(stays, page, site.url("/page")) == "chromepool"
                    and await stays.evaluate(_SEEN, page) == before
                )

            await _until(is_as_before, "it is as it was")

    run(scenario())


@DOORS
def test_its_cdp_sessions_are_detached(
    shared_daemon: Daemon, new_session: Callable[..., Session], site: Site, door: str
) -> None:
    """In a plain session: to the daemon's own client every page is attached."""
    session = new_session()

    async def scenario() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as stays:
            target = (await stays.call("Target.createTarget", {"url": site.url("/frames")}))[
                "targetId"
            ]
            async with _another(session, target, door) as (leaves, held):
                await leaves.call("Target.setAutoAttach", WAIT, held)
                assert (await _targets(stays))[target]
                vanish(leaves)
            await _alone(shared_daemon, session)
            assert not any((await _targets(stays)).values())

    run(scenario())


async def _targets(client: Cdp) -> dict[str, bool]:
    """All that there are, whether attached."""
    found = (await client.call("Target.getTargets"))["targetInfos"]
    return {info["targetId"]: info["attached"] for info in found}


def test_contexts_that_were_to_go_with_it_are_gone_and_others_stay(
    shared_daemon: Daemon, session: Session
) -> None:
    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as stays:
            made = []
            async with connect(url) as leaves:
                for goes in (True, False):
                    params = {"disposeOnDetach": goes}
                    context = await leaves.call("Target.createBrowserContext", params)
                    made.append(context["browserContextId"])
                    target = {"url": "about:blank", "browserContextId": made[-1]}
                    await leaves.call("Target.createTarget", target)
                vanish(leaves)
            await _alone(shared_daemon, session)

            async def only_one_stays() -> bool:
                found = await stays.call("Target.getBrowserContexts")
                return bool(found["browserContextIds"] == made[1:])

            await _until(only_one_stays, "the one is gone, the other not")

    run(scenario())


# -- how many, and how much --


@KINDS
def test_as_many_clients_as_there_may_be_and_not_one_more(
    daemons: Daemons, capture_options: Session
) -> None:
    """The daemon's own is none of them."""

    async def scenario(daemon: Daemon, session: Session) -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as first:
            target, _ = await first.open_page()
            async with _another(session, target, "page") as (second, _), connect(url):
                assert daemon.show(session["id"])["clients"] == 3
                for door in ("browser", "page"):
                    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                        async with _another(session, target, door):
                            pass
                    assert caught.value.status == 503
                vanish(second)
                await _alone(daemon, session, 2)
                async with _another(session, target, "page") as (another, _):
                    assert await another.evaluate("6*7") == 42

    daemon = daemons(max_clients=3)
    run(scenario(daemon, daemon.new(**capture_options)))


def test_clients_that_come_at_one_moment_are_not_too_many(daemons: Daemons) -> None:
    async def scenario(daemon: Daemon, session: Session) -> None:
        leave = asyncio.Event()
        let_in = 0

        async def come() -> int:
            nonlocal let_in
            try:
                async with connect(session["webSocketDebuggerUrl"]) as client:
                    await client.call("Browser.getVersion")
                    let_in += 1
                    await leave.wait()
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

        crowd = [asyncio.create_task(come()) for _ in range(20)]
        async with asyncio.timeout(DEADLINE_S):
            while sum(task.done() for task in crowd) < 17 or let_in < 3:
                await asyncio.sleep(0.01)
        leave.set()
        assert sorted(await asyncio.gather(*crowd)) == [101] * 3 + [503] * 17

    daemon = daemons(max_clients=3)
    run(scenario(daemon, daemon.new(**ATTENDED)))


# Not without end: what the pipe does not take Chrome keeps, and dies of.
_FLOOD = """window.text = 'x'.repeat(256 * 1024); window.left = 160;
window.flood = setInterval(() => { if (left-- > 0) console.log(text); }, 0); 0"""
_BUFFERED = re.compile(r"^chromepool_client_buffered_bytes ([\d.e+]+)$", re.MULTILINE)


def _buffered(daemon: Daemon) -> float:
    found = _BUFFERED.search(daemon.ask("GET", "/metrics").body.decode())
    assert found is not None
    return float(found[1])


@KINDS
def test_what_it_did_not_read_is_bounded_and_goes_with_it(
    daemons: Daemons, capture_options: Session
) -> None:
    """The only client, which has stopped reading: Chrome waits, until it is gone."""

    async def scenario(daemon: Daemon, session: Session) -> None:
        gateway = daemon.gateway
        before = gateway.memory_info().rss
        async with connect(session["webSocketDebuggerUrl"]) as deaf:
            target, page = await deaf.open_page()
            await deaf.call("Runtime.enable", session=page)
            await deaf.evaluate(_FLOOD, page)
            await asyncio.to_thread(
                wait_for, lambda: _buffered(daemon) >= 4 * MIB, "it is behind", 60
            )
            sent = daemon.show(session["id"])["usage"]["cdp_bytes_out"]
            assert sent > 4 * MIB
            assert _buffered(daemon) < 16 * MIB
            assert gateway.memory_info().rss - before < 64 * MIB
            vanish(deaf)
        async with connect(session["webSocketDebuggerUrl"]) as client:
            page = await client.attach(target)
            assert await client.evaluate("clearInterval(flood); 6*7", page) == 42
        await _alone(daemon, session, 0)
        assert _buffered(daemon) == 0

    daemon = daemons(client_buffer_bytes="8MiB")
    run(scenario(daemon, daemon.new(**capture_options)))
