"""Popups whose opener they can reach run at the first word of anybody who paused them. The daemon's
own client must not be the one to say it: clients' scripts run in them beside the session's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from testing.cdp import WAIT, Cdp, connect, run, vanish
from testing.daemon import Daemon
from testing.node import script
from testing.site import Site

Session = dict[str, Any]
NewSession = Callable[..., Session]
ROUNDS = 10
SCRIPT = [{"name": "a", "source": "window.theirs = 1"}]
WISHES: dict[str, Session] = {
    "plain": {},
    "scripts": {"scripts": SCRIPT},
    "all": {"scripts": SCRIPT, "capture": {}, "console": True, "timezone": "Asia/Tokyo"},
}
EVERY_WISH = pytest.mark.parametrize("wish", WISHES)
MINE = {"source": "window.mine = 1", "runImmediately": True}
TABS = {"filter": [{"type": "page", "exclude": True}, {}]}
OPEN = """(() => { const popup = window.open('/early'); window.other = popup;
return [popup.theirs ?? 0, popup.mine ?? 0]; })()"""


@EVERY_WISH
@pytest.mark.parametrize("client", ["puppeteer", "playwright"])
def test_a_clients_script_runs_before_anything_of_a_popup(
    new_session: NewSession, site: Site, client: str, wish: str
) -> None:
    """When its opener first looks into it, and before the first script of its own."""
    endpoint = new_session(**WISHES[wish])["webSocketDebuggerUrl"]
    params = {"endpoint": endpoint, "url": site.url("/page"), "rounds": ROUNDS}
    seen = script("popups.mjs", client, json.dumps(params))
    kept = int(wish != "plain")
    assert seen == [[[kept, 1], [kept, 1]]] * ROUNDS


async def _opener(client: Cdp, site: Site) -> str:
    _, page = await client.open_page()
    await client.call("Page.enable", session=page)
    await client.call("Page.navigate", {"url": site.url("/page")}, page)
    await client.wait_event("Page.loadEventFired")
    return page


async def _open(client: Cdp, page: str) -> int:
    params = {"expression": OPEN, "returnByValue": True}
    return await client.send("Runtime.evaluate", params, page)


async def _met(client: Cdp, kind: str = "page") -> str:
    while True:
        params = (await client.wait_event("Target.attachedToTarget"))["params"]
        if params["targetInfo"]["type"] == kind and not params["targetInfo"]["url"]:
            return str(params["sessionId"])


async def _seen(client: Cdp, number: int) -> Any:
    return (await client.answer(number))["result"]["result"]["value"]


async def _stands_still(client: Cdp, number: int) -> None:
    """Its opener waits with it. Nothing tells that nothing will happen: this can only pass where
    it should not, never fail where it should pass."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await client.answer(number)


@EVERY_WISH
def test_a_client_that_takes_its_time_is_waited_for(
    new_session: NewSession, site: Site, wish: str
) -> None:
    session = new_session(**WISHES[wish])

    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as opens, connect(url) as slow:
            page = await _opener(opens, site)
            await slow.call("Target.setAutoAttach", WAIT)
            opened = await _open(opens, page)
            popup = await _met(slow)
            await _stands_still(opens, opened)
            await slow.call("Page.enable", session=popup)
            await slow.call("Page.addScriptToEvaluateOnNewDocument", MINE, popup)
            await slow.send("Runtime.runIfWaitingForDebugger", session=popup)
            assert await _seen(opens, opened) == [int(wish != "plain"), 1]

    run(scenario())


def test_a_client_that_comes_to_it_by_its_tab_is_waited_for(
    new_session: NewSession, site: Site
) -> None:
    """As Puppeteer does, but slowly: its tab first, and the page below."""
    session = new_session(scripts=SCRIPT)

    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as opens, connect(url) as slow:
            page = await _opener(opens, site)
            await slow.call("Target.setAutoAttach", WAIT | TABS)
            opened = await _open(opens, page)
            tab = await _met(slow, "tab")
            await _stands_still(opens, opened)
            await slow.send("Target.setAutoAttach", WAIT | {"filter": [{}]}, tab)
            await slow.send("Runtime.runIfWaitingForDebugger", session=tab)
            popup = await _met(slow)
            await _stands_still(opens, opened)
            await slow.call("Page.enable", session=popup)
            await slow.call("Page.addScriptToEvaluateOnNewDocument", MINE, popup)
            await slow.send("Runtime.runIfWaitingForDebugger", session=popup)
            assert await _seen(opens, opened) == [1, 1]

    run(scenario())


async def _vanishes(client: Cdp, popup: str) -> None:
    vanish(client)


async def _detaches(client: Cdp, popup: str) -> None:
    await client.send("Target.detachFromTarget", {"sessionId": popup})


async def _asks_no_more(client: Cdp, popup: str) -> None:
    await client.send("Target.setAutoAttach", WAIT | {"autoAttach": False})


@pytest.mark.parametrize("leaves", [_vanishes, _detaches, _asks_no_more])
def test_a_client_that_holds_it_no_more_is_not_waited_for(
    new_session: NewSession, site: Site, leaves: Callable[..., Any]
) -> None:
    session = new_session(scripts=SCRIPT)

    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as opens, connect(url) as paused_targets:
            page = await _opener(opens, site)
            await paused_targets.call("Target.setAutoAttach", WAIT)
            opened = await _open(opens, page)
            popup = await _met(paused_targets)
            await leaves(paused_targets, popup)
            assert await _seen(opens, opened) == [1, 0]

    run(scenario())


def test_a_client_that_never_lets_its_tab_go_is_not_waited_for_long(
    new_session: NewSession, site: Site
) -> None:
    session = new_session(scripts=SCRIPT)

    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as opens, connect(url) as paused_targets:
            page = await _opener(opens, site)
            await paused_targets.call("Target.setAutoAttach", WAIT | TABS)
            opened = await _open(opens, page)
            await _met(paused_targets, "tab")
            assert await _seen(opens, opened) == [1, 0]

    run(scenario())


def test_scripts_asked_for_while_a_client_holds_a_popup_do_not_let_it_go(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    """The daemon's own client meets it late, and not paused for it."""
    session = new_session()

    async def scenario() -> None:
        url = session["webSocketDebuggerUrl"]
        async with connect(url) as opens, connect(url) as paused_targets:
            page = await _opener(opens, site)
            await paused_targets.call("Target.setAutoAttach", WAIT)
            opened = await _open(opens, page)
            popup = await _met(paused_targets)
            path = f"/v1/sessions/{session['id']}/scripts"
            asked = asyncio.create_task(
                asyncio.to_thread(shared_daemon.ask, "POST", path, SCRIPT[0])
            )
            await _stands_still(opens, opened)
            await paused_targets.send("Runtime.runIfWaitingForDebugger", session=popup)
            await _seen(opens, opened)
            assert (await asked).status == 201

    run(scenario())
