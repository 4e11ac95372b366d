"""Sessions outlive their gateway: killed, hung, out of memory or replaced on purpose."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing.cdp import Cdp, connect, run
from testing.daemon import Daemon, Misbehaving, is_alive, wait_for
from testing.handover import HOWS, kill_gateway, reload, replace, serving, wait_taken_over
from testing.site import Site


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    """Where its gateway can get to its journal."""
    with Daemon(folder) as running:
        yield running


@HOWS
def test_pages_cookies_and_contexts_are_as_they_were(daemon: Daemon, site: Site, how: str) -> None:
    session = daemon.new(labels={"job": "7"}, idle_timeout_s=600)
    url = session["webSocketDebuggerUrl"]

    async def prepare() -> tuple[str, str]:
        async with connect(url) as client:
            context = (await client.call("Target.createBrowserContext"))["browserContextId"]
            params = {"url": site.url("/page"), "browserContextId": context}
            target = (await client.call("Target.createTarget", params))["targetId"]
            page = await client.attach(target)
            await client.evaluate("document.cookie = 'kept=1'; window.kept = 41", page)
            # A client that says Target.disposeOnDetach has asked for the end of its context.
            await asyncio.to_thread(replace, daemon, how)
            code, _ = await client.closed()
            assert code == (1006 if how == "killed" else 1012)
            return context, target

    context, target = run(prepare())

    async def look() -> None:
        async with connect(url) as client:
            assert context in (await client.call("Target.getBrowserContexts"))["browserContextIds"]
            page = await client.attach(target)
            assert await client.evaluate("window.kept + 1", page) == 42
            assert await client.evaluate("document.cookie", page) == "kept=1"

    run(look())
    shown = daemon.show(session["id"])
    same = ("id", "number", "owner", "labels", "pid", "created_at", "limits", "options")
    assert {name: shown[name] for name in same} == {name: session[name] for name in same}
    assert shown["state"] == "ready"
    assert shown["usage"]["cdp_messages_in"] > 0, "counters go on"
    assert daemon.delete(session["id"]) == 204


@HOWS
def test_what_clients_had_intercepted_and_paused_goes_on(
    daemon: Daemon, site: Site, how: str
) -> None:
    session = daemon.new()
    url = session["webSocketDebuggerUrl"]

    async def hold_everything() -> str:
        async with connect(url) as client:
            target, page = await client.open_page(site.url("/page"))
            auto = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
            await client.call("Target.setAutoAttach", auto)
            await client.call("Target.setAutoAttach", auto, page)
            client.events.clear()
            await client.call("Fetch.enable", {}, page)
            get = (
                f"window.got = 0; fetch('{site.url('/page')}').then(r => window.got = r.status); 1"
            )
            await client.evaluate(get, page)
            await client.wait_event("Fetch.requestPaused")
            worker = "const k = new Worker(URL.createObjectURL(new Blob(['postMessage(5)'])));"
            await client.evaluate(worker + "k.onmessage = e => window.said = e.data; 1", page)
            await client.wait_event("Target.attachedToTarget")
            opening = {"expression": "window.w = open('about:blank?popup'); 1"}
            await client.send("Runtime.evaluate", opening, page)  # the page waits for it, too
            popup = await client.wait_event("Target.attachedToTarget")
            assert popup["params"]["waitingForDebugger"] is True
            await asyncio.to_thread(replace, daemon, how)
            return target

    target = run(hold_everything())

    async def look() -> None:
        async with connect(url) as client:
            page = await client.attach(target)

            async def until(expression: str) -> None:
                async with asyncio.timeout(60):
                    while not await client.evaluate(expression, page):
                        await asyncio.sleep(0.05)

            await until("window.got === 200")
            await until("window.said === 5")
            await until("!!window.w && window.w.document.readyState === 'complete'")

    run(look())


def test_scripts_emulation_and_console_are_taken_up_again(daemon: Daemon, site: Site) -> None:
    session = daemon.new(
        timezone="Pacific/Auckland",
        console=True,
        scripts=[{"name": "first", "source": "window.first = 1"}],
    )
    added = {"name": "second", "source": "window.second = 2"}
    path = f"/v1/sessions/{session['id']}"
    assert daemon.ask("POST", path + "/scripts", added).status == 201
    kill_gateway(daemon)
    names = [script["name"] for script in daemon.ask("GET", path + "/scripts").json["scripts"]]
    assert names == ["first", "second"]

    async def look() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page(site.url("/page"))
            zone = "Intl.DateTimeFormat().resolvedOptions().timeZone"
            assert await client.evaluate(zone, page) == "Pacific/Auckland"
            assert await client.evaluate("[window.first, window.second].join()", page) == "1,2"
            await client.evaluate("console.log('still kept')", page)

    run(look())
    wait_for(
        lambda: b"still kept" in daemon.ask("GET", path + "/console").body, "its words are kept"
    )


def _renderers(session: dict[str, Any]) -> list[psutil.Process]:
    below = psutil.Process(session["pid"]).children(recursive=True)
    return [process for process in below if "--type=renderer" in process.cmdline()]


def test_a_tab_that_hangs_costs_nobody_a_session(daemon: Daemon, site: Site) -> None:
    """Neither its session nor what that had asked for, over two gateways in a row."""
    capture_options = {"console": True, "timezone": "Pacific/Auckland"}
    script = {"name": "first", "source": "window.first = 1"}
    session = daemon.new(**capture_options, capture={}, scripts=[script])

    async def open_page() -> str:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            return (await client.open_page(site.url("/page")))[0]

    target = run(open_page())
    stopped = _renderers(session)
    assert stopped
    for renderer in stopped:
        renderer.suspend()
    kill_gateway(daemon)
    before = serving(daemon)
    for number in range(2):  # the second comes while it takes over
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: serving(daemon) > before + number, "another gateway serves")  # noqa: B023
    for renderer in stopped:
        renderer.resume()
    wait_taken_over(daemon, before)
    path = f"/v1/sessions/{session['id']}/scripts"
    assert [s["name"] for s in daemon.ask("GET", path).json["scripts"]] == ["first"]

    async def look() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            old = await client.attach(target)
            _, new = await client.open_page(site.url("/page"))
            for page in (old, new):
                await client.call("Page.enable", session=page)
                await client.call("Page.reload", session=page)
                await client.wait_event("Page.loadEventFired")
                assert await client.evaluate("window.first", page) == 1
                zone = "Intl.DateTimeFormat().resolvedOptions().timeZone"
                assert await client.evaluate(zone, page) == "Pacific/Auckland"

    run(look())


def test_a_chrome_that_dies_while_there_is_no_gateway_has_a_true_end(daemon: Daemon) -> None:
    session = daemon.new()
    gateway = daemon.gateway
    before = serving(daemon)
    gateway.suspend()  # it sees nothing of what follows
    os.kill(session["pid"], signal.SIGKILL)
    gateway.kill()
    wait_taken_over(daemon, before)
    ended = daemon.wait_ended(session["id"])
    assert (ended["exit"]["reason"], ended["exit"]["signal"]) == ("crashed", "SIGKILL")
    path = f"/v1/history/{session['id']}"
    wait_for(lambda: daemon.ask("GET", path).json.get("reason") == "crashed", "it is written down")


def test_the_journal_does_not_take_them_for_lost(daemon: Daemon) -> None:
    session = daemon.new()
    path = f"/v1/history/{session['id']}"
    wait_for(lambda: daemon.ask("GET", path).status == 200, "it is written down")
    kill_gateway(daemon)
    assert daemon.ask("GET", path).json["reason"] is None
    daemon.delete(session["id"])
    wait_for(lambda: daemon.ask("GET", path).json["reason"] == "deleted", "its end is written down")


def test_one_that_was_ending_ends(misbehaving: Misbehaving) -> None:
    with misbehaving(
        "ignore-close", "ignore-term", close_timeout_s=60, term_timeout_s=0.2
    ) as daemon:
        session = daemon.new()
        asking = threading.Thread(target=_delete_quietly, args=(daemon, session["id"]))
        asking.start()
        wait_for(lambda: daemon.show(session["id"])["state"] == "closing", "it is ending")
        kill_gateway(daemon)
        asking.join()
        assert daemon.show(session["id"])["exit"]["reason"] == "deleted"
        pid = session["pid"]
        os.kill(pid, signal.SIGKILL)  # it ignores everything else
        assert daemon.wait_ended(session["id"])["exit"]["reason"] == "deleted"


def _delete_quietly(daemon: Daemon, session_id: str) -> None:
    try:
        daemon.delete(session_id)
    except OSError:
        return  # its gateway was killed


def test_numbers_and_places_go_on(misbehaving: Misbehaving) -> None:
    with misbehaving(max_sessions=2) as daemon:
        first = daemon.new()
        kill_gateway(daemon)
        second = daemon.new()
        assert second["number"] > first["number"]
        assert daemon.ask("POST", "/v1/sessions").json["code"] == "pool_full"
        assert daemon.ask("GET", "/v1/status").json["sessions"]["now"] == 2


def test_a_kept_profile_stays_locked(daemon: Daemon) -> None:
    daemon.new(profile="shop")
    kill_gateway(daemon)
    assert daemon.ask("POST", "/v1/sessions", {"profile": "shop"}).json["code"] == "profile_in_use"


def test_deadlines_go_on(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        session = daemon.new(max_age_s=8)
        kill_gateway(daemon)
        assert daemon.show(session["id"])["expires_at"][:17] == session["expires_at"][:17]
        assert daemon.wait_ended(session["id"])["exit"]["reason"] == "max_age"


def test_connect_and_go_sessions_have_a_while_to_come_back(daemon: Daemon) -> None:
    async def go() -> str:
        async with connect(daemon.ws_url) as client:
            response = client.socket._response
            session_id = response.headers["Chromepool-Session"]
            await asyncio.to_thread(kill_gateway, daemon)
            return str(session_id)

    session = daemon.show(run(go()))
    assert session["state"] == "ready"
    assert session["expires_at"] is not None
    daemon.delete(session["id"])


# -- hangs --


_STICK = """
import signal

def stick(*_):
    while True:
        pass

signal.signal(signal.SIGUSR2, stick)
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR2])
def test_a_gateway_that_hangs_is_found_with_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Stopped; or stuck in the middle of something, with its threads alive."""
    tmp_path.chmod(0o755)
    (tmp_path / "sitecustomize.py").write_text(_STICK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Daemon(tmp_path, heartbeat_timeout_s=3) as daemon:
        session = daemon.new()
        kill_gateway(daemon, number)
        hung = next(line for line in daemon.log if '"gateway.hung"' in line)
        evidence = json.loads(hung)["evidence"]
        if number == signal.SIGSTOP:
            assert "in state T" in evidence[0]
        else:
            assert any("most recent call first" in line for line in evidence)
            assert any("stick" in line for line in evidence), "it says where it is"
        assert daemon.show(session["id"])["state"] == "ready"


def test_one_that_hangs_does_not_hold_up_its_successor(tmp_path: Path) -> None:
    """It is not given the time that one has which leaves."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, heartbeat_timeout_s=3) as daemon:
        session, before = daemon.new(), serving(daemon)
        daemon.gateway.suspend()
        daemon.process.send_signal(signal.SIGHUP)
        wait_taken_over(daemon, before)
        hung = [json.loads(line) for line in daemon.log if '"gateway.hung"' in line]
        assert [line["why"] for line in hung] == ["it gave no sign of life"]
        assert daemon.show(session["id"])["state"] == "ready"


def test_one_that_hangs_at_a_stop_is_ended_and_its_sessions_are_asked(tmp_path: Path) -> None:
    """SIGTERM after a stop that its gateway does nothing about, long before all of it is over."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, heartbeat_timeout_s=3, shutdown_timeout_s=600) as daemon:
        process = psutil.Process(daemon.new()["pid"])
        daemon.gateway.suspend()
        daemon.process.send_signal(signal.SIGTERM)
        wait_for(lambda: daemon.process.poll() is not None, "it has stopped", 120)
        assert daemon.stop() == 0
        assert not is_alive(process)
        assert any('"gateway.hung"' in line for line in daemon.log)


_MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A group of its own, with 16 MiB beyond what whoever enters has already."""
    group = _MEMORY / f"chromepool-test-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(16 << 20))
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "nothing is left in it")
    group.rmdir()


@pytest.mark.skipif(
    not os.access(_MEMORY / "memory.limit_in_bytes", os.W_OK),
    reason="needs the memory controller (cgroup v1), and root",
)
def test_one_that_runs_out_of_memory_takes_no_session_with_it(
    daemon: Daemon, memory_group: Path
) -> None:
    session, before = daemon.new(), serving(daemon)
    (memory_group / "cgroup.procs").write_text(str(daemon.gateway.pid))

    async def ask_for_much() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.evaluate("window.kept = 'x'.repeat(60e6)", page)

    with pytest.raises(AssertionError, match="1006"):
        run(ask_for_much())
    wait_taken_over(daemon, before)
    assert "oom_kill 1" in (memory_group / "memory.oom_control").read_text()
    died = next(json.loads(line) for line in daemon.log if '"gateway.died"' in line)
    assert died["signal"] == "SIGKILL"
    assert daemon.show(session["id"])["state"] == "ready"


def test_a_slow_start_is_no_hang(misbehaving: Misbehaving) -> None:
    """A Chrome that does not answer keeps the supervisor's questions waiting for nobody."""
    with misbehaving("mute", heartbeat_timeout_s=3, start_timeout_s=9) as daemon:
        gateway = daemon.gateway
        assert daemon.ask("POST", "/v1/sessions").json["code"] == "start_failed"
        assert daemon.gateway == gateway


def test_a_supervisor_that_was_stopped_itself_kills_nobody(misbehaving: Misbehaving) -> None:
    with misbehaving(heartbeat_timeout_s=2) as daemon:
        gateway = daemon.gateway
        os.kill(daemon.pid, signal.SIGSTOP)
        wait_for(lambda: daemon.process.poll() is None and _is_stopped(daemon.pid), "it is stopped")
        for _ in range(3):
            assert daemon.ask("GET", "/healthz").status == 200
        threading.Event().wait(5)  # longer than the gateway may be silent
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.new()
        daemon.new()
        assert daemon.gateway == gateway


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_one_that_dies_again_and_again_is_started_with_pauses_and_an_alert(
    misbehaving: Misbehaving,
) -> None:
    with misbehaving() as daemon:
        session = daemon.new()
        for _ in range(3):
            kill_gateway(daemon)
        deaths = [json.loads(line) for line in daemon.log if '"gateway.died"' in line]
        pauses = [death["pause_s"] for death in deaths]
        assert pauses[0] == 0
        assert max(pauses) > 0

        def raised() -> bool:
            alerts = daemon.ask("GET", "/v1/status").json["alerts"]
            return "gateway_crash_loop" in [alert["name"] for alert in alerts]

        wait_for(raised, "the alert says so")
        assert daemon.show(session["id"])["state"] == "ready"


# -- replaced on purpose --


def test_under_load_nobody_is_refused(daemon: Daemon) -> None:
    """Callers and clients all the while; each reload keeps all of them."""
    session = daemon.new()
    url = session["webSocketDebuggerUrl"]
    failures: list[str] = []
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            answer = daemon.ask("GET", f"/v1/sessions/{session['id']}")
            if answer.status != 200 and answer.json["code"] != "session_not_ready":
                failures.append(f"{answer.status} {answer.body!r}")

    async def drive() -> int:
        closed = 0
        while not done.is_set():
            async with connect(url) as client:
                closed += await _evaluate_until_closed(client)
        return closed

    callers = [threading.Thread(target=_noting(failures, call)) for _ in range(3)]
    closed: list[int] = []
    driver = threading.Thread(target=_noting(failures, lambda: closed.append(run(drive()))))
    for thread in (*callers, driver):
        thread.start()
    try:
        for _ in range(5):
            reload(daemon)
    finally:
        done.set()
        for thread in (*callers, driver):
            thread.join()
    assert failures == []
    assert closed[0] >= 1
    assert daemon.show(session["id"])["state"] == "ready"


def _noting(failures: list[str], work: Any) -> Any:
    def run_it() -> None:
        try:
            work()
        except Exception as error:
            failures.append(repr(error))

    return run_it


async def _evaluate_until_closed(client: Cdp) -> int:
    """Drives it for a while; 1 when it was closed with 1012 meanwhile, and with nothing else."""
    for _ in range(5000):
        await client.socket.send_str('{"id": 1, "method": "Browser.getVersion"}')
        frame = await asyncio.wait_for(client.socket.receive(), 60)
        if frame.data == 1012 or client.socket.close_code == 1012:
            return 1
        assert b"result" in str(frame.data).encode(), frame
    return 0


def test_creations_under_way_come_to_their_end(daemon: Daemon) -> None:
    sessions: list[dict[str, Any]] = []
    failures: list[str] = []
    callers = [
        threading.Thread(target=_noting(failures, lambda: sessions.append(daemon.new())))
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    wait_for(lambda: len(daemon.chromes()) >= 1, "some are starting")
    reload(daemon)
    for caller in callers:
        caller.join()
    assert failures == []
    assert {daemon.show(session["id"])["state"] for session in sessions} == {"ready"}


def test_code_that_does_not_load_replaces_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that went wrong: the old gateway goes on."""
    tmp_path.chmod(0o755)
    broken = tmp_path / "broken"
    broken.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with Daemon(tmp_path) as daemon:
        session, gateway = daemon.new(), daemon.gateway
        (broken / "aiohttp.py").write_text("raise ImportError('not this version')")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: '"gateway.replacement_failed"' in daemon.text, "it is said")
        assert daemon.gateway == gateway
        assert daemon.show(session["id"])["state"] == "ready"
        (broken / "aiohttp.py").unlink()
        reload(daemon)
        assert daemon.gateway != gateway
        assert daemon.show(session["id"])["state"] == "ready"


def test_chromepool_reload_returns_when_the_new_one_serves(daemon: Daemon) -> None:
    before = daemon.ask("GET", "/v1/status").json["gateway"]["restarts"]
    done = daemon.cli("reload")
    assert (done.returncode, done.stdout.strip()) == (0, "reloaded"), done.stderr
    assert daemon.ask("GET", "/v1/status").json["gateway"]["restarts"] == before + 1
