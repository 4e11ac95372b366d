"""Scripts written for browserless: nothing changes but the host."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from testing.cdp import Cdp, connect, run
from testing.clients import running
from testing.daemon import Answer, Daemon, wait_for
from testing.daemon_pool import Daemons
from testing.node import inline, script
from testing.site import Site

pytestmark = pytest.mark.chrome

TOKEN = "0123456789abcdef0123456789abcdef"
AGENT = "Mozilla/5.0 (browserless) Chrome/1.0"
LAUNCH = {
    "args": ["--no-sandbox", "--window-size=800,600"],
    "defaultViewport": {"width": 640, "height": 480},
}
PUPPETEER = """
import puppeteer from 'puppeteer-core';
const [browserWSEndpoint, url] = process.argv.slice(1);
const browser = await puppeteer.connect({ browserWSEndpoint, defaultViewport: null });
const page = await browser.newPage();
"""
PLAYWRIGHT = """
import { chromium } from 'playwright-core';
const [endpoint, url] = process.argv.slice(1);
const browser = await chromium.connectOverCDP(endpoint);
const page = await browser.contexts()[0].newPage();
"""
SCRIPT = """
await page.goto(url);
const seen = await page.evaluate(() => ({
  title: document.title,
  inner: [innerWidth, innerHeight],
  agent: navigator.userAgent,
}));
seen.picture = (await page.screenshot()).length;
await browser.close();
console.log(JSON.stringify(seen));
"""

Seen = dict[str, Any]


@pytest.fixture(scope="module")
def daemon_with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon")
    tokens = folder / "tokens"
    tokens.write_text(f"ci {TOKEN}\n")
    tokens.chmod(0o600)
    with Daemon(folder, tokens_file=tokens) as running:
        yield running


def address(daemon: Daemon, path: str = "/", scheme: str = "ws", **query: object) -> str:
    """What the script is given, encoded as URLSearchParams does it."""
    asked = {"token": TOKEN, **{name.replace("__", "--", 1): v for name, v in query.items()}}
    return f"{scheme}://{daemon.authority}{path}?{urllib.parse.urlencode(asked)}"


def visit(daemon: Daemon, site: Site, client: str, endpoint: str) -> tuple[Seen, Seen]:
    """What the script sees, and the session as it was meanwhile."""
    meanwhile: list[Any] = []
    site.on_visit = lambda: meanwhile.append(running(daemon))
    seen: Seen = script(*inline(client + SCRIPT, endpoint, site.url("/stop")))
    assert seen["title"] == "chromepool"
    assert seen["picture"] > 1000
    ((session,),) = meanwhile
    assert session["owner"] == "token:ci"
    return seen, session


def assert_it_went(daemon: Daemon, session: Seen) -> None:
    assert daemon.wait_ended(session["id"])["exit"]["reason"] == "client_closed"
    assert running(daemon) == []


# -- scripts --


def as_it_is(launch: object) -> str:
    return json.dumps(launch)


def in_base64(launch: object) -> str:
    return base64.b64encode(json.dumps(launch).encode()).decode()


@pytest.mark.parametrize("encode", [as_it_is, in_base64])
@pytest.mark.parametrize("path", ["/", "/chromium", "/chrome"])
@pytest.mark.parametrize("client", [PUPPETEER, PLAYWRIGHT], ids=["puppeteer", "playwright"])
def test_a_script(
    daemon_with_tokens: Daemon, site: Site, client: str, path: str, encode: Any
) -> None:
    endpoint = address(daemon_with_tokens, path, timeout=60000, launch=encode(LAUNCH))
    seen, session = visit(daemon_with_tokens, site, client, endpoint)
    assert seen["inner"] == [640, 480]
    options = session["options"]
    assert options["max_age_s"] == 60
    assert options["flags"] == ["--window-size=800,600"]
    assert (options["viewport"]["width"], options["viewport"]["height"]) == (640, 480)
    assert_it_went(daemon_with_tokens, session)


def test_a_launch_that_nobody_encoded(daemon_with_tokens: Daemon, site: Site) -> None:
    """As browserless' own examples have it: ``launch=${JSON.stringify(...)}``."""
    endpoint = address(daemon_with_tokens) + "&launch=" + json.dumps(LAUNCH, separators=(",", ":"))
    seen, session = visit(daemon_with_tokens, site, PUPPETEER, endpoint)
    assert seen["inner"] == [640, 480]
    assert_it_went(daemon_with_tokens, session)


def test_a_window_size_is_the_page_s_where_there_is_no_viewport(
    daemon_with_tokens: Daemon, site: Site
) -> None:
    launch = {"args": LAUNCH["args"], "headless": True}
    endpoint = address(daemon_with_tokens, launch=as_it_is(launch))
    seen, session = visit(daemon_with_tokens, site, PUPPETEER, endpoint)
    assert seen["inner"][0] == 800
    assert 400 < seen["inner"][1] <= 600
    assert_it_went(daemon_with_tokens, session)


@pytest.mark.parametrize("client", [PUPPETEER, PLAYWRIGHT], ids=["puppeteer", "playwright"])
def test_flags_in_the_query(daemon_with_tokens: Daemon, site: Site, client: str) -> None:
    flags = {"__user-agent": AGENT, "__window-size": "800,600", "__no-sandbox": ""}
    endpoint = address(daemon_with_tokens, **flags)
    seen, session = visit(daemon_with_tokens, site, client, endpoint)
    assert seen["agent"] == AGENT
    assert session["options"]["user_agent"] == AGENT
    assert session["options"]["flags"] == ["--window-size=800,600"]
    assert_it_went(daemon_with_tokens, session)


def test_a_user_agent_among_the_arguments(daemon_with_tokens: Daemon, site: Site) -> None:
    launch = {"args": [f"--user-agent={AGENT}"]}
    endpoint = address(daemon_with_tokens, launch=as_it_is(launch))
    seen, session = visit(daemon_with_tokens, site, PUPPETEER, endpoint)
    assert seen["agent"] == AGENT
    assert_it_went(daemon_with_tokens, session)


def test_the_query_goes_along_from_json_version(daemon_with_tokens: Daemon, site: Site) -> None:
    """Playwright asks for ``/json/version/`` below an http address, with its query."""
    endpoint = address(daemon_with_tokens, scheme="http", launch=as_it_is(LAUNCH))
    query = urllib.parse.urlsplit(endpoint).query
    version = daemon_with_tokens.get(f"/json/version?{query}").json
    assert version["webSocketDebuggerUrl"] == f"{daemon_with_tokens.ws_url}?{query}"

    seen, session = visit(daemon_with_tokens, site, PLAYWRIGHT, endpoint)
    assert seen["inner"] == [640, 480]
    assert_it_went(daemon_with_tokens, session)
    url = version["webSocketDebuggerUrl"]
    seen, session = visit(daemon_with_tokens, site, PUPPETEER, url)
    assert seen["inner"] == [640, 480]
    assert_it_went(daemon_with_tokens, session)


# -- handshakes --


def shake(daemon: Daemon, url: str) -> Answer:
    """A handshake; one that succeeds is hung up at once."""
    key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Version": "13"}
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"} | key
    return daemon.get(url.removeprefix(f"ws://{daemon.authority}"), headers=headers)


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """Before the upgrade, with a problem document."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["code"] == code


WRONG = [
    {"nonsense": "1"},
    {"Token": "x"},
    {"launch": "neither"},
    {"launch": "{"},
    {"launch": "[1]"},
    {"launch": base64.b64encode(b"[]").decode()},
    {"launch": base64.b64encode(b"\xff").decode()},
    {"launch": '{"args": "--no-sandbox"}'},
    {"launch": '{"args": [1]}'},
    {"launch": '{"executablePath": "/bin/sh"}'},
    {"launch": '{"env": {"LD_PRELOAD": "/tmp/x.so"}}'},
    {"launch": '{"userDataDir": "/root"}'},
    {"launch": '{"defaultViewport": {"width": 0, "height": 480}}'},
    {"launch": '{"defaultViewport": {"width": 640}}'},
    {"launch": '{"args": ["--remote-debugging-address=0.0.0.0"]}'},
    {"launch": '{"args": ["--renderer-cmd-prefix=/bin/sh"]}'},
    {"launch": '{"args":' + "[" * 2_000},
    {"launch": base64.b64encode(b"[" * 5_000).decode()},
    {"__renderer-cmd-prefix": "/bin/sh"},
    {"__": ""},
    {"timeout": "soon"},
    {"timeout": "nan"},
    {"timeout": "inf"},
    {"timeout": "-1"},
    {"timeout": "0"},
    {"keepalive": "long"},
    {"keepalive": "-1"},
    {"wait": "1e3"},
]


@pytest.mark.parametrize("query", WRONG, ids=lambda query: json.dumps(query)[:60])
def test_what_is_refused_before_the_upgrade(
    daemon_with_tokens: Daemon, query: dict[str, str]
) -> None:
    answer = shake(daemon_with_tokens, address(daemon_with_tokens, **query))
    assert_refused(answer, 400, "invalid_request")
    assert running(daemon_with_tokens) == []


@pytest.mark.parametrize("path", ["/", "/chrome", "/chromium"])
@pytest.mark.parametrize("query", ["", "?token=", f"?token={'f' * 32}"])
def test_callers_without_a_token_are_refused_before_the_upgrade(
    daemon_with_tokens: Daemon, path: str, query: str
) -> None:
    answer = shake(daemon_with_tokens, path + query)
    assert_refused(answer, 401, "unauthorized")
    assert running(daemon_with_tokens) == []


def test_a_client_is_told_why_it_was_refused(daemon_with_tokens: Daemon) -> None:
    async def talk() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connect(address(daemon_with_tokens, nonsense=1)):
                pass
        assert caught.value.status == 400

    run(talk())


@pytest.mark.parametrize("path", ["/", "/chromium"])
def test_an_address_of_websockets_takes_nothing_else(daemon_with_tokens: Daemon, path: str) -> None:
    assert_refused(daemon_with_tokens.get(f"{path}?token={TOKEN}"), 426, "upgrade_required")


# -- keepalive --


def test_a_session_that_is_kept_alive_is_found_again(daemon_with_tokens: Daemon) -> None:
    """By the id in the answer to the handshake; it is in the list, too."""
    daemon = daemon_with_tokens
    answer = shake(daemon, address(daemon, keepalive=300))
    assert answer.status == 101
    found = answer.headers["Chromepool-Session"]
    wait_for(lambda: daemon.show(found)["clients"] == 0, "its client is gone")
    (session,) = running(daemon)
    assert (session["id"], session["state"]) == (found, "ready")
    assert session["expires_at"] is not None

    async def leave_and_come_back() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            target, page = await client.open_page()
            await client.evaluate("window.mark = 'left'", page)
        async with connect(f"ws://{daemon.authority}/sessions/{found}/devtools/page/{target}") as c:
            assert await c.evaluate("window.mark") == "left"

    run(leave_and_come_back())
    assert daemon.show(found)["state"] == "ready"
    assert daemon.delete(found) == 204


@pytest.mark.parametrize("keepalive", ["1", "0.05"])
def test_a_session_that_nobody_comes_back_to_ends(
    daemon_with_tokens: Daemon, keepalive: str
) -> None:
    daemon = daemon_with_tokens
    answer = shake(daemon, address(daemon, keepalive=keepalive))
    ended = daemon.wait_ended(answer.headers["Chromepool-Session"])
    assert ended["exit"]["reason"] == "client_closed"
    assert ended["exit"]["detail"] == f"its client did not come back within {keepalive} s"
    wait_for(lambda: not daemon.chromes(), "its Chrome is gone")


def test_a_session_does_not_end_while_somebody_is_there(daemon_with_tokens: Daemon) -> None:
    """However often they come and go, and however short they want it kept alive."""
    daemon = daemon_with_tokens

    async def stay(client: Cdp) -> None:
        _, page = await client.open_page()
        await client.evaluate("new Promise((done) => setTimeout(done, 1000))", page)

    async def come() -> str:
        async with connect(address(daemon, keepalive="0.2")) as client:
            (session,) = running(daemon)
            async with connect(session["webSocketDebuggerUrl"]) as second:
                await client.socket.close()
                await stay(second)
                assert daemon.show(session["id"])["state"] == "ready"
        return str(session["id"])

    assert daemon.wait_ended(run(come()))["exit"]["reason"] == "client_closed"


def test_without_keepalive_a_session_goes_with_its_client(daemon_with_tokens: Daemon) -> None:
    daemon = daemon_with_tokens
    for query in ({}, {"keepalive": "0"}):
        answer = shake(daemon, address(daemon, **query))
        ended = daemon.wait_ended(answer.headers["Chromepool-Session"])
        assert ended["exit"]["detail"] == "its client disconnected"


# -- wait --


@pytest.fixture
def small(daemons: Daemons) -> Daemon:
    """A daemon with one place."""
    return daemons(max_sessions=1)


def test_a_client_that_waits_gets_the_next_place(small: Daemon) -> None:
    session = small.new()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        waiting = threads.submit(shake, small, "/?wait=60")
        wait_for(lambda: small.ask("GET", "/v1/queue").json["waiting"], "it waits")
        assert small.delete(session["id"]) == 204
        answer = waiting.result()
    assert answer.status == 101
    made = small.wait_ended(answer.headers["Chromepool-Session"])
    assert made["exit"]["reason"] == "client_closed"


def test_a_client_that_waits_in_vain_is_told(small: Daemon) -> None:
    small.new()
    for query in ("", "?wait=0", "?wait=0.2"):
        answer = shake(small, f"/{query}")
        assert_refused(answer, 503, "pool_full")
        assert int(answer.headers["Retry-After"]) >= 1
    assert small.ask("GET", "/v1/queue").json["waiting"] == []


def test_a_client_that_hangs_up_while_it_waits_leaves_the_queue(small: Daemon) -> None:
    session = small.new()

    async def give_up() -> None:
        async with aiohttp.ClientSession() as http:
            waiting = http.ws_connect(f"{small.ws_url}?wait=60")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting, 0.5)

    run(give_up())
    wait_for(lambda: not small.ask("GET", "/v1/queue").json["waiting"], "the queue is empty")
    assert [each["id"] for each in running(small)] == [session["id"]]
