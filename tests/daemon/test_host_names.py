"""A session under a host name of its own, ``ID.localhost``: for clients that take a host and a
port, and leave no room for a path."""

from __future__ import annotations

import json
import shlex
import socket
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from testing.cdp import Cdp, connect, run
from testing.clients import (
    MARK,
    assert_driven,
    assert_left,
    pages_of,
    running,
)
from testing.daemon import Answer, Daemon, wait_for
from testing.node import inline, script
from testing.site import Site

pytestmark = pytest.mark.chrome

CHROMEDRIVER = "/usr/bin/chromedriver"
NOBODY = "0" * 32
PAGE = "data:text/html,<title>hello</title><body style='background: teal'><h1>A page</h1>"

Session = dict[str, Any]
ByName = Callable[[str, str], str]


def name_of(daemon: Daemon, session: Session) -> str:
    """Host and port."""
    return f"{session['id']}.localhost:{port_of(daemon)}"


def port_of(daemon: Daemon) -> int:
    return int(daemon.authority.rpartition(":")[2])


def ask(daemon: Daemon, host: str, path: str, method: str = "GET") -> Answer:
    """A request to where the name would lead; not every resolver knows ``*.localhost``."""
    return daemon.get(path, method, {"Host": host})


def upgrade(daemon: Daemon, host: str, path: str) -> Answer:
    """A WebSocket that is hung up at once, or the refusal."""
    key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Version": "13"}
    headers = {"Host": host, "Connection": "Upgrade", "Upgrade": "websocket"} | key
    return daemon.get(path, headers=headers)


def assert_not_found(answer: Answer, code: str = "session_not_found") -> None:
    assert (answer.status, answer.json["code"]) == (404, code), answer.body


def led_back(daemon: Daemon, url: str, session: Session) -> str:
    """The path, below the session's, of a URL that leads to it by an address.

    Not by its name: chromedriver and Node look that up where it may not be known.
    """
    base = f"ws://127.0.0.1:{port_of(daemon)}/sessions/{session['id']}"
    assert url.startswith(f"{base}/")
    return url.removeprefix(base)


# -- /json --


def test_its_version(shared_daemon: Daemon, session: Session) -> None:
    host = name_of(shared_daemon, session)
    guid = session["webSocketDebuggerUrl"].rpartition("/")[2]
    by_path = shared_daemon.get(f"/sessions/{session['id']}/json/version").json
    for path in ("/json/version", "/json/version/"):
        answer = ask(shared_daemon, host, path)
        assert answer.status == 200
        version = answer.json
        led = led_back(shared_daemon, version["webSocketDebuggerUrl"], session)
        assert led == f"/devtools/browser/{guid}"
        assert version | by_path == by_path


@pytest.mark.parametrize("path", ["/json", "/json/", "/json/list", "/json/list/"])
def test_its_targets(shared_daemon: Daemon, session: Session, path: str) -> None:
    host = name_of(shared_daemon, session)
    (target,) = ask(shared_daemon, host, path).json
    assert (target["type"], target["url"]) == ("page", "about:blank")
    socket_path = f"/devtools/page/{target['id']}"
    assert led_back(shared_daemon, target["webSocketDebuggerUrl"], session) == socket_path
    assert target["devtoolsFrontendUrl"].endswith(socket_path)


def test_a_page_is_opened_activated_and_closed(shared_daemon: Daemon, session: Session) -> None:
    host = name_of(shared_daemon, session)
    opened = ask(shared_daemon, host, "/json/new?" + urllib.parse.quote(PAGE), "PUT")
    assert opened.status == 200
    target = opened.json["id"]
    path = f"/devtools/page/{target}"
    assert led_back(shared_daemon, opened.json["webSocketDebuggerUrl"], session) == path
    wait_for(lambda: PAGE in pages_of(shared_daemon, session), "the page is there")

    activated = ask(shared_daemon, host, f"/json/activate/{target}")
    assert (activated.status, activated.body) == (200, b"Target activated")
    closed = ask(shared_daemon, host, f"/json/close/{target}")
    assert (closed.status, closed.body) == (200, b"Target is closing")
    wait_for(lambda: pages_of(shared_daemon, session) == ["about:blank"], "the page is closed")
    for verb in ("activate", "close"):
        assert_not_found(ask(shared_daemon, host, f"/json/{verb}/{target}"), "target_not_found")


def test_a_link_opens_no_page(shared_daemon: Daemon, session: Session) -> None:
    answer = ask(shared_daemon, name_of(shared_daemon, session), "/json/new?about:blank")
    assert (answer.status, answer.headers["Allow"]) == (405, "PUT")
    assert pages_of(shared_daemon, session) == ["about:blank"]


def test_the_protocol(shared_daemon: Daemon, session: Session) -> None:
    answer = ask(shared_daemon, name_of(shared_daemon, session), "/json/protocol")
    assert "Target" in {domain["domain"] for domain in answer.json["domains"]}


@pytest.mark.parametrize("spelling", ["{}.LOCALHOST:{}", "{}.localhost.:{}", "{}.localhost"])
def test_spellings_of_a_name(shared_daemon: Daemon, session: Session, spelling: str) -> None:
    """A client may send no port, where it came through a forwarder on port 80."""
    host = spelling.format(session["id"].upper(), port_of(shared_daemon))
    answer = ask(shared_daemon, host, "/json/version")
    port = host.partition(":")[2] or "80"
    base = f"ws://127.0.0.1:{port}/sessions/{session['id']}/devtools/browser/"
    assert answer.json["webSocketDebuggerUrl"].startswith(base)


# -- WebSockets --


def test_its_sockets(shared_daemon: Daemon, session: Session) -> None:
    """The browser's by ``/json/version``, a page's by ``/json/list``, and ``/``, which under
    this name is no session of one's own."""
    host = name_of(shared_daemon, session)
    version = ask(shared_daemon, host, "/json/version").json
    (target,) = ask(shared_daemon, host, "/json/list").json

    async def talk(path: str) -> str:
        url = f"ws://{shared_daemon.authority}{path}"
        async with connect(url, headers={"Host": host}) as client:
            return await first_target(client)

    urls = (version["webSocketDebuggerUrl"], target["webSocketDebuggerUrl"])
    for path in (*(led_back(shared_daemon, url, session) for url in urls), "/"):
        assert run(talk(path)) == target["id"]
    assert [each["id"] for each in running(shared_daemon)] == [session["id"]]
    assert_left(shared_daemon, session)


async def first_target(client: Cdp) -> str:
    infos = (await client.call("Target.getTargets"))["targetInfos"]
    (target,) = (info["targetId"] for info in infos if info["type"] == "page")
    return str(target)


def test_a_handshake_names_the_session(shared_daemon: Daemon, session: Session) -> None:
    answer = upgrade(shared_daemon, name_of(shared_daemon, session), "/")
    assert (answer.status, answer.headers["Chromepool-Session"]) == (101, session["id"])
    assert_left(shared_daemon, session)


@pytest.mark.parametrize("kind", ["browser", "page"])
def test_targets_that_it_has_not(shared_daemon: Daemon, session: Session, kind: str) -> None:
    host = name_of(shared_daemon, session)
    assert_not_found(upgrade(shared_daemon, host, f"/devtools/{kind}/0"), "target_not_found")


def test_a_session_is_not_reached_by_the_name_of_another(
    shared_daemon: Daemon, session: Session
) -> None:
    other = shared_daemon.new()
    path = urllib.parse.urlsplit(other["webSocketDebuggerUrl"]).path
    host = name_of(shared_daemon, session)
    below = path.removeprefix(f"/sessions/{other['id']}")
    assert upgrade(shared_daemon, name_of(shared_daemon, other), below).status == 101
    assert_not_found(upgrade(shared_daemon, host, below), "target_not_found")
    (target,) = ask(shared_daemon, name_of(shared_daemon, other), "/json").json
    path = f"/devtools/page/{target['id']}"
    assert_not_found(upgrade(shared_daemon, host, path), "target_not_found")


# -- names that are not a session's --


PATHS = ["/json/version", "/json", "/json/list", "/json/activate/0", "/json/close/0"]
SOCKETS = ["/", "/devtools/browser/0", "/devtools/page/0"]


def test_the_name_of_no_session(shared_daemon: Daemon) -> None:
    host = f"{NOBODY}.localhost:{port_of(shared_daemon)}"
    for path in PATHS:
        assert_not_found(ask(shared_daemon, host, path))
    assert_not_found(ask(shared_daemon, host, "/json/new?about:blank", "PUT"))
    for path in SOCKETS:
        assert_not_found(upgrade(shared_daemon, host, path))
    assert running(shared_daemon) == []


def test_the_name_of_an_ended_session(shared_daemon: Daemon, session: Session) -> None:
    assert shared_daemon.delete(session["id"]) == 204
    host = name_of(shared_daemon, session)
    for answer in (ask(shared_daemon, host, "/json"), upgrade(shared_daemon, host, "/")):
        assert_not_found(answer)
        assert "it was deleted" in answer.json["detail"]


OTHERS = ["127.0.0.1", "localhost", "chrome.localhost", f"{NOBODY[:-1]}.localhost", "[::1]"]


@pytest.mark.parametrize("name", OTHERS)
def test_under_any_other_name_a_session_is_made(shared_daemon: Daemon, name: str) -> None:
    host = f"{name}:{port_of(shared_daemon)}"
    url = ask(shared_daemon, host, "/json/version").json["webSocketDebuggerUrl"]
    assert url == f"ws://{host}/"
    answer = upgrade(shared_daemon, host, "/")
    assert answer.status == 101
    made = shared_daemon.wait_ended(answer.headers["Chromepool-Session"])
    assert made["exit"]["reason"] == "client_closed"


@pytest.mark.parametrize("name", OTHERS)
def test_under_any_other_name_there_are_no_targets(shared_daemon: Daemon, name: str) -> None:
    host = f"{name}:{port_of(shared_daemon)}"
    for path in PATHS[1:]:
        assert_not_found(ask(shared_daemon, host, path))
    for path in SOCKETS[1:]:
        assert_not_found(upgrade(shared_daemon, host, path))


@pytest.mark.parametrize("name", ["{}.localhost.example.com", "{}.example.com", "{}localhost"])
def test_names_that_a_web_page_can_have_are_refused(
    shared_daemon: Daemon, session: Session, name: str
) -> None:
    host = f"{name.format(session['id'])}:{port_of(shared_daemon)}"
    for answer in (ask(shared_daemon, host, "/json"), upgrade(shared_daemon, host, "/")):
        assert (answer.status, answer.json["code"]) == (403, "forbidden")


# -- clients --
#
# Browsers resolve *.localhost by themselves (RFC 6761, 6.3). Others ask the C library, which
# knows it where nss-myhostname or systemd-resolved is set up, and else wants a line in /etc/hosts.
# Here they get one, in a mount namespace of their own. chromedriver does both: it finds /json like
# a browser, and would ask the C library for the WebSocket; so that is told by address.


@pytest.fixture
def by_name(tmp_path: Path) -> ByName:
    """Makes a program that starts another, for which a host name means this machine."""

    def make(program: str, host: str) -> str:
        name = host.partition(":")[0]
        if resolves(name):
            return program
        hosts, script = tmp_path / "hosts", tmp_path / "by-name"
        hosts.write_text(f"127.0.0.1 localhost {name}\n")
        bind = f"mount --bind {shlex.quote(str(hosts))} /etc/hosts"
        inner = f'{bind} && exec {program} "$@"'
        script.write_text(f'#!/bin/sh\nexec unshare --mount sh -c {shlex.quote(inner)} sh "$@"\n')
        script.chmod(0o755)
        return str(script)

    return make


def resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except socket.gaierror:
        return False


def drive(host: str) -> Any:
    """Selenium on the Chrome at this address, by chromedriver."""
    options = webdriver.ChromeOptions()
    options.debugger_address = host
    return webdriver.Chrome(options=options, service=Service(executable_path=CHROMEDRIVER))


def test_selenium_drives_a_session_leaves_it_and_finds_its_page_again(
    shared_daemon: Daemon, session: Session
) -> None:
    """chromedriver closes no Chrome that it did not start: quit() is no more than a goodbye."""
    host = name_of(shared_daemon, session)
    driver = drive(host)
    try:
        assert shared_daemon.show(session["id"])["clients"] == 1
        driver.get(PAGE)
        assert driver.title == "hello"
        assert driver.execute_script("return 6 * 7") == 42
        driver.execute_script("window.mark = arguments[0]", MARK)
        assert driver.get_screenshot_as_png().startswith(b"\x89PNG\r\n\x1a\n")
        first = driver.current_window_handle
        driver.switch_to.new_window("tab")
        handles = driver.window_handles
        assert len(handles) == 2
    finally:
        driver.quit()
    assert_left(shared_daemon, session)
    assert sorted(pages_of(shared_daemon, session)) == ["about:blank", PAGE]

    driver = drive(host)
    try:
        assert sorted(driver.window_handles) == sorted(handles)
        driver.switch_to.window(first)
        assert driver.execute_script("return window.mark") == MARK
        driver.close()
        assert len(driver.window_handles) == 1
    finally:
        driver.quit()
    assert_left(shared_daemon, session)
    assert pages_of(shared_daemon, session) == ["about:blank"]


@pytest.mark.root
@pytest.mark.parametrize("client", ["puppeteer", "playwright"])
def test_a_client_that_is_given_an_http_address_drives_the_session(
    shared_daemon: Daemon, session: Session, site: Site, by_name: ByName, client: str
) -> None:
    """Puppeteer too, which drops a path, and so cannot be given ``/sessions/ID``."""
    host = name_of(shared_daemon, session)
    url = site.url("/page")
    params = {"endpoint": f"http://{host}", "url": url, "mark": MARK}
    node = by_name("node", host)
    assert_driven(script("run.mjs", client, "drive", json.dumps(params), node=node))
    assert_left(shared_daemon, session)
    assert sorted(pages_of(shared_daemon, session)) == ["about:blank", url]


CRI = """
import CDP from 'chrome-remote-interface';
const [url, host, port, base] = process.argv.slice(1);
const below = (path) => (path.startsWith(base) ? path : base + path);
const options = base ? { host, port, alterPath: below } : { host, port, useHostName: true };
const target = await CDP.New({ ...options, url });
const client = await CDP({ ...options, target: target.id });
await client.Page.enable();
const { result } = await client.Runtime.evaluate({
  expression: 'new Promise((done) => setTimeout(() => done(document.title), 0))',
  awaitPromise: true,
});
await client.close();
await CDP.Activate({ ...options, id: target.id });
const before = (await CDP.List(options)).map(({ url }) => url);
await CDP.Close({ ...options, id: target.id });
const { Browser } = await CDP.Version(options);
console.log(JSON.stringify({ title: result.value, before, Browser }));
"""


def remote_interface(node: str, *arguments: object) -> Any:
    return script(*inline(CRI, *arguments), node=node)


def assert_worked(daemon: Daemon, session: Session, result: Any, url: str) -> None:
    assert result["title"] == "chromepool"
    assert sorted(result["before"]) == ["about:blank", url]
    assert "Chrome/" in result["Browser"]
    assert_left(daemon, session)
    wait_for(lambda: pages_of(daemon, session) == ["about:blank"], "the page is closed")


@pytest.mark.root
def test_chrome_remote_interface_takes_the_name(
    shared_daemon: Daemon, session: Session, site: Site, by_name: ByName
) -> None:
    """With ``useHostName``: without, it sends the address that it has resolved the name to."""
    host = name_of(shared_daemon, session)
    url, node = site.url("/page"), by_name("node", host)
    result = remote_interface(node, url, host.partition(":")[0], port_of(shared_daemon), "")
    assert_worked(shared_daemon, session, result, url)


def test_chrome_remote_interface_needs_no_name_with_a_path(
    shared_daemon: Daemon, session: Session, site: Site
) -> None:
    """``alterPath`` is for the paths that it asks for, and those that it is answered."""
    url, base = site.url("/page"), f"/sessions/{session['id']}"
    result = remote_interface("node", url, "127.0.0.1", port_of(shared_daemon), base)
    assert_worked(shared_daemon, session, result, url)


def test_aiohttp_goes_by_the_name(shared_daemon: Daemon, session: Session) -> None:
    """With a resolver of its own, as browsers have one."""
    host = name_of(shared_daemon, session)

    async def talk() -> str:
        connector = aiohttp.TCPConnector(resolver=Loopback())
        async with aiohttp.ClientSession(connector=connector) as http:
            async with http.get(f"http://{host}/json/version") as answer:
                url = (await answer.json())["webSocketDebuggerUrl"]
            async with http.ws_connect(url) as socket:
                return await first_target(Cdp(socket))

    (target,) = ask(shared_daemon, host, "/json").json
    assert run(talk()) == target["id"]


class Loopback(aiohttp.abc.AbstractResolver):
    """``*.localhost`` is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        assert host.endswith(".localhost")
        found = {"hostname": host, "host": "127.0.0.1", "port": port}
        rest = {"family": socket.AF_INET, "proto": 0, "flags": socket.AI_NUMERICHOST}
        return [aiohttp.abc.ResolveResult(**found, **rest)]  # type: ignore[typeddict-item]

    async def close(self) -> None:
        """Nothing to close."""
