"""Options that CDP sets: in every page, frame, popup, context and worker, beside real clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon
from testing.node import script
from testing.site import Site

OPTIONS = {
    "viewport": {"width": 777, "height": 555, "device_scale_factor": 2},
    "user_agent": "Agent/7",
    "locale": "fr-FR",
    "timezone": "Pacific/Auckland",
}
NewSession = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("client", ["puppeteer", "playwright"])
def test_every_document_has_them_before_its_own_scripts_run(
    new_session: NewSession, site: Site, client: str
) -> None:
    session = new_session(**OPTIONS)
    params = {"endpoint": session["webSocketDebuggerUrl"], "url": site.url("/frames")}
    found = script("emulation.mjs", client, json.dumps(params))
    told = {"timezone": "Pacific/Auckland", "language": "fr-FR", "agent": "Agent/7"}
    for where in ("early", "frame", "popup", "worker", "context"):
        assert told.items() <= found[where].items(), where
    for where in ("early", "frame", "popup", "context"):
        assert found[where]["locale"] == "fr-FR", where
    for where in ("early", "popup", "context"):
        assert (found[where]["width"], found[where]["ratio"]) == (777, 2), where
    assert found["mine"] == 1  # the client's own script ran as well
    assert found["own"] == 321  # and its own viewport beats the session's


def test_the_first_page_has_them_and_servers_are_told(new_session: NewSession, site: Site) -> None:
    session = new_session(**OPTIONS)

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            infos = (await client.call("Target.getTargets"))["targetInfos"]
            first = next(info["targetId"] for info in infos if info["type"] == "page")
            page = await client.attach(first)
            await client.call("Network.enable", session=page)
            await client.call("Page.navigate", {"url": site.url("/page")}, page)
            event = await client.wait_event("Network.requestWillBeSentExtraInfo")
            return event["params"]["headers"], await client.evaluate("innerWidth", page)

    headers, width = run(scenario())
    assert headers["User-Agent"] == "Agent/7"
    assert headers["Accept-Language"].startswith("fr-FR")
    assert width == 777


def test_clients_hear_nothing_of_the_auto_attacher(
    new_session: NewSession,
) -> None:
    plain, dressed = new_session(), new_session(timezone="Asia/Tokyo")

    async def messages(session: dict[str, Any]) -> int:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            for _ in range(3):
                await client.open_page()
        return len(client.events)

    assert run(messages(plain)) == run(messages(dressed)) == 3


def test_the_auto_attacher_is_no_client(shared_daemon: Daemon, new_session: NewSession) -> None:
    session = new_session(timezone="Asia/Tokyo")
    assert session["clients"] == 0

    async def foreign() -> int:
        async with aiohttp.ClientSession(), connect(session["webSocketDebuggerUrl"]) as client:
            await client.open_page()
            attached = [e for e in client.events if e["method"] == "Target.attachedToTarget"]
            clients: int = shared_daemon.show(session["id"])["clients"]
            assert len(attached) == 1  # its own, and none of the auto-attacher's
            return clients

    assert run(foreign()) == 1


def test_what_chrome_does_not_know_is_refused(shared_daemon: Daemon) -> None:
    answer = shared_daemon.ask("POST", "/v1/sessions", {"timezone": "Moon/Crater"})
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert "timezone" in answer.json["detail"]
    assert shared_daemon.ask("GET", "/v1/sessions").json == {"sessions": []}
