"""The clients people use, real ones, against a real Chrome behind the daemon."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable

import pytest

from testing.clients import (
    MARK,
    Result,
    Session,
    assert_driven,
    assert_left,
    assert_picture,
    pages_of,
    run,
    running,
)
from testing.daemon import Daemon, wait_for
from testing.node import SCRIPT_DEADLINE_S
from testing.site import Site

pytestmark = pytest.mark.chrome

ROUNDS = 5


# -- each client on a session --


def over_websocket(session: Session) -> Result:
    return {"endpoint": session["webSocketDebuggerUrl"]}


def over_http(session: Session) -> Result:
    return {"endpoint": session["devtools_url"]}


def page_sockets(session: Session) -> Result:
    return over_websocket(session) | {"devtools_url": session["devtools_url"]}


def fetched_protocol(session: Session) -> Result:
    return page_sockets(session) | {"fetch_protocol": True}


@pytest.mark.parametrize(
    ("client", "how"),
    [
        ("puppeteer", over_websocket),
        ("playwright", over_websocket),
        ("playwright", over_http),
        ("pyppeteer", over_websocket),
        ("pyppeteer", over_http),
        ("cri", over_websocket),
        ("cri", page_sockets),
        ("cri", fetched_protocol),
    ],
)
def test_client_drives_a_session_leaves_it_and_finds_its_page_again(
    shared_daemon: Daemon,
    session: Session,
    site: Site,
    client: str,
    how: Callable[[Session], Result],
) -> None:
    params = how(session)
    url = site.url("/page")
    assert_driven(run(client, "drive", url=url, mark=MARK, **params))
    assert_left(shared_daemon, session)
    assert sorted(pages_of(shared_daemon, session)) == ["about:blank", url]

    assert run(client, "revisit", url=url, **params) == {"marks": [MARK]}
    assert_left(shared_daemon, session)
    wait_for(lambda: pages_of(shared_daemon, session) == ["about:blank"], "the page is closed")


@pytest.mark.parametrize(
    ("first", "second"), [("puppeteer", "playwright"), ("playwright", "cri"), ("cri", "pyppeteer")]
)
def test_a_page_passes_from_one_client_to_another(
    shared_daemon: Daemon, session: Session, site: Site, first: str, second: str
) -> None:
    url = site.url("/page")
    assert_driven(run(first, "drive", url=url, mark=MARK, **over_websocket(session)))
    assert run(second, "revisit", url=url, **over_websocket(session)) == {"marks": [MARK]}
    assert_left(shared_daemon, session)


def test_puppeteer_drops_the_path_of_a_browser_url(
    shared_daemon: Daemon, session: Session, site: Site
) -> None:
    """Puppeteer asks for ``new URL('/json/version', browserURL)``: the daemon never hears which
    session was meant, and gives it one of its own. Such users need ``webSocketDebuggerUrl``."""
    seen: list[set[str]] = []
    site.on_visit = lambda: seen.append({s["id"] for s in running(shared_daemon)})
    run("puppeteer", "drive", url=site.url("/stop"), mark=MARK, **over_http(session))
    assert [len(ids) for ids in seen] == [2, 2]
    assert all(session["id"] in ids for ids in seen)
    assert pages_of(shared_daemon, session) == ["about:blank"]
    wait_for(lambda: len(running(shared_daemon)) == 1, "its own session is gone")


# -- two at once --


@pytest.mark.parametrize(
    "clients",
    [("puppeteer", "playwright"), ("pyppeteer", "puppeteer"), ("cri", "playwright")],
    ids="+".join,
)
def test_two_clients_work_on_one_session_at_once(
    shared_daemon: Daemon, session: Session, site: Site, clients: tuple[str, str]
) -> None:
    """At first and in every round both wait for the site, which answers once both have asked."""
    seen: list[int] = []
    barrier = threading.Barrier(
        2, lambda: seen.append(shared_daemon.show(session["id"])["clients"]), SCRIPT_DEADLINE_S
    )
    site.on_visit = lambda: meet(barrier)
    params = {"url": site.url("/stop"), "rounds": ROUNDS, **over_websocket(session)}
    with concurrent.futures.ThreadPoolExecutor() as threads:
        works = {who: threads.submit(run, who, "work", who=who, **params) for who in clients}
        for work in works.values():
            work.add_done_callback(lambda done: barrier.abort() if done.exception() else None)
    for who, work in works.items():
        assert_worked(who, work.result())
    assert seen == [2] * (1 + ROUNDS)
    assert_left(shared_daemon, session)


def meet(barrier: threading.Barrier) -> None:
    """When the other client has failed this one is answered at once, and goes on alone."""
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait()


def assert_worked(who: str, result: Result) -> None:
    done = result["done"]
    assert [each["search"] for each in done] == [f"?who={who}&round={n}" for n in range(ROUNDS)]
    assert all(each["right"] for each in done)
    for each in done:
        assert_picture(each["screenshot"])


# -- connect and go --


@pytest.mark.parametrize("scheme", ["ws", "http"])
@pytest.mark.parametrize("client", ["puppeteer", "playwright", "pyppeteer"])
def test_connect_and_go(shared_daemon: Daemon, site: Site, client: str, scheme: str) -> None:
    connect_and_go(shared_daemon, site, client, scheme)


def test_connect_and_go_by_chrome_remote_interface(shared_daemon: Daemon, site: Site) -> None:
    connect_and_go(shared_daemon, site, "cri", "ws")


def connect_and_go(daemon: Daemon, site: Site, client: str, scheme: str) -> None:
    """While the client is at the site there is one session; it goes when the client goes."""
    seen: list[list[Session]] = []
    site.on_visit = lambda: seen.append(running(daemon))
    endpoint = daemon.ws_url if scheme == "ws" else daemon.http_url
    assert_driven(run(client, "drive", endpoint=endpoint, url=site.url("/stop"), mark=MARK))
    assert [[(s["state"], s["clients"]) for s in each] for each in seen] == [[("ready", 1)]] * 2
    ids = {each[0]["id"] for each in seen}
    assert len(ids) == 1
    assert daemon.wait_ended(ids.pop())["exit"]["reason"] == "client_closed"
    assert running(daemon) == []
    assert daemon.chromes() == []


# -- endings --


@pytest.mark.parametrize("client", ["puppeteer", "playwright", "pyppeteer", "cri"])
def test_browser_close_ends_the_session(
    shared_daemon: Daemon, session: Session, site: Site, client: str
) -> None:
    params = {"url": site.url("/page"), "mark": MARK, **over_websocket(session)}
    assert_driven(run(client, "drive", leave="close", **params))
    ended = shared_daemon.wait_ended(session["id"])
    assert ended["exit"]["reason"] == "client_closed"
    assert ended["clients"] == 0
    assert shared_daemon.chromes() == []


def test_a_crashed_page_leaves_the_session_alive(
    shared_daemon: Daemon, session: Session, site: Site
) -> None:
    result = run("puppeteer", "crash", url=site.url("/page"), **over_websocket(session))
    assert result["error"] == "Page crashed!"
    assert result["title"] == "chromepool"
    assert_left(shared_daemon, session)
    crashes = shared_daemon.show(session["id"])["crashes"]
    assert [crash["target_id"] for crash in crashes] == [result["target"]]
    assert crashes[0]["status"] == "crashed"


# -- more of Puppeteer --


def test_a_popup(shared_daemon: Daemon, session: Session, site: Site) -> None:
    url = site.url("/page")
    result = run("puppeteer", "popup", url=url, **over_websocket(session))
    assert result["opener"] == url
    assert result["same"] is True
    assert_picture(result["screenshot"])
    assert_left(shared_daemon, session)
    assert f"{url}?popup" in pages_of(shared_daemon, session)


def test_frames(shared_daemon: Daemon, session: Session, site: Site) -> None:
    """One of the page's own site, one of another (the headless shell isolates neither)."""
    far = site.url("/page?far", host="localhost")
    params = {"url": site.url("/frames"), "far": far, **over_websocket(session)}
    result = run("puppeteer", "frames", **params)
    assert result == {"near": "frames", "far": far}
    assert_left(shared_daemon, session)


def test_a_worker(shared_daemon: Daemon, session: Session, site: Site) -> None:
    """A target below the page's: its CDP session hangs below another."""
    result = run("puppeteer", "worker", url=site.url("/page"), **over_websocket(session))
    assert result == {"kind": "DedicatedWorkerGlobalScope"}
    assert_left(shared_daemon, session)


def test_scripts_and_functions_injected_before_a_page(
    shared_daemon: Daemon, session: Session, site: Site
) -> None:
    result = run("puppeteer", "inject", url=site.url("/page"), **over_websocket(session))
    assert result == {"seen": [["", "chromepool"]] * 2, "twice": 42}
    assert_left(shared_daemon, session)
