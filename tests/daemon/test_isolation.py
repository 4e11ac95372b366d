"""Whoever has one session in full control gets nothing of another. Real Chrome, real daemon."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing.cdp import Cdp, connect, run
from testing.daemon import Daemon, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="uids and mounts per session need root")

Session = dict[str, Any]


@pytest.fixture
def pair(new_session: Callable[[], Session]) -> tuple[Session, Session]:
    """Two sessions: the attacker's and the victim's."""
    return new_session(), new_session()


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _is_filtered(pid: int) -> bool:
    return _status(pid)["Seccomp"] == "2"


def _tree(session: Session) -> list[psutil.Process]:
    root = psutil.Process(session["pid"])
    return [root, *root.children(recursive=True)]


def _renderers(session: Session) -> list[psutil.Process]:
    return [p for p in _tree(session) if "--type=renderer" in p.cmdline()]


def _namespace(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def test_the_sandbox_is_on(pair: tuple[Session, Session]) -> None:
    uids = []
    for session in pair:
        renderers = wait_for(functools.partial(_renderers, session), "a renderer runs")
        for renderer in renderers:
            # Seen between its fork and its sandbox it has no filter yet.
            wait_for(functools.partial(_is_filtered, renderer.pid), "it has a seccomp filter")
            status = _status(renderer.pid)
            assert status["NoNewPrivs"] == "1"
            assert _namespace(renderer.pid, "user") != _namespace(os.getpid(), "user")
            uids.append(int(status["Uid"].split()[0]))
        assert not any("--no-sandbox" in p.cmdline() for p in _tree(session))
    assert 0 not in uids
    assert len(set(uids)) == len(pair)


def test_every_process_has_the_uid_limits_and_namespaces_of_its_session(
    pair: tuple[Session, Session],
) -> None:
    seen: dict[str, set[str]] = {}
    for session in pair:
        root = session["pid"]
        uid = _status(root)["Uid"].split()[0]
        for process in _tree(session):
            status = _status(process.pid)
            assert status["Uid"].split() == [uid] * 4
            assert status["Groups"].split() in ([], [uid])
        assert int(_status(root)["CapEff"], 16) == 0
        assert os.getsid(root) == root
        limits = Path(f"/proc/{root}/limits").read_text()
        assert limits.splitlines()[5].split()[4:6] == ["0", "0"], "core files"
        for kind in ("mnt", "ipc"):
            seen.setdefault(kind, set()).add(_namespace(root, kind))
    for kind, found in seen.items():
        assert len(found | {_namespace(os.getpid(), kind)}) == len(pair) + 1


def test_chrome_gets_none_of_the_daemons_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/0/bus")
    monkeypatch.setenv("A_SECRET", "sesame")
    with Daemon(tmp_path) as daemon:
        session = daemon.new()
        environment = psutil.Process(session["pid"]).environ()
    assert not {"DBUS_SESSION_BUS_ADDRESS", "A_SECRET"} & environment.keys()


def test_nothing_of_a_session_listens(pair: tuple[Session, Session]) -> None:
    for session in pair:
        for process in _tree(session):
            listening = [c for c in process.net_connections("inet") if c.status == "LISTEN"]
            assert listening == []


def test_a_client_cannot_make_chrome_listen(
    shared_daemon: Daemon, pair: tuple[Session, Session]
) -> None:
    async def bind() -> dict[str, Any]:
        async with connect(pair[0]["webSocketDebuggerUrl"]) as client:
            return await client.ask("Tethering.bind", {"port": 45678})

    run(bind())
    for process in _tree(pair[0]):
        assert not [c for c in process.net_connections("inet") if c.status == "LISTEN"]


async def _text_of(client: Cdp, url: str) -> str:
    _, page = await client.open_page()
    await client.call("Page.enable", None, page)
    await client.ask("Page.navigate", {"url": url}, page)
    # Polled: a promise of a document that is replaced meanwhile is never settled.
    loads = "document.URL == 'about:blank' || document.readyState != 'complete'"
    while await client.evaluate(loads, page):
        await asyncio.sleep(0.01)
    text: str = await client.evaluate("document.documentElement.textContent", page)
    return text


def test_no_file_of_another_session_can_be_read(
    shared_daemon: Daemon, pair: tuple[Session, Session]
) -> None:
    attacker, victim = pair
    uid = int(_status(victim["pid"])["Uid"].split()[0])
    profile = next(p for p in shared_daemon.profiles() if p.stat().st_uid == uid)
    secret = profile / "secret.txt"
    secret.write_text("sesame")
    os.chmod(secret, 0o644)

    async def read() -> list[str]:
        async with connect(attacker["webSocketDebuggerUrl"]) as client:
            urls = [f"file://{secret}", f"file://{profile}/", f"file://{profile.parent}/"]
            return [await _text_of(client, url) for url in urls]

    for text in run(read()):
        assert "sesame" not in text
        assert 'addRow("' not in text, "Chrome lists the entries of a folder in such calls"


def test_proc_shows_only_ones_own_and_names_no_session(
    shared_daemon: Daemon, pair: tuple[Session, Session]
) -> None:
    """A session's id is its capability: no command line, path or group may carry it."""
    attacker, victim = pair
    for process in _tree(victim):
        shown = [*process.cmdline(), Path(f"/proc/{process.pid}/cgroup").read_text()]
        assert not any(victim["id"] in text for text in shown)

    async def read() -> str:
        async with connect(attacker["webSocketDebuggerUrl"]) as client:
            return await _text_of(client, "file:///proc/")

    listing = run(read())
    assert f'addRow("{attacker["pid"]}"' in listing, "what is not hidden is listed"
    for process in (*_tree(victim), psutil.Process(shared_daemon.pid), shared_daemon.gateway):
        assert f'addRow("{process.pid}"' not in listing


def test_tmp_and_shm_are_not_shared(shared_daemon: Daemon, pair: tuple[Session, Session]) -> None:
    first, second = (Path(f"/proc/{session['pid']}/root") for session in pair)
    for folder in ("tmp", "dev/shm"):
        mark = first / folder / "mark"
        mark.write_text("x")
        assert not (second / folder / "mark").exists()
        assert not (Path("/") / folder / "mark").exists()


def test_no_signal_reaches_another_session(pair: tuple[Session, Session]) -> None:
    """Asked of the kernel in the attacker's name: a process with its uid may not signal."""
    attacker, victim = pair
    uid = int(_status(attacker["pid"])["Uid"].split()[0])
    for process in _tree(victim):
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                os.kill(process.pid, signal.SIGTERM)
            except PermissionError:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_another_clients_cdp_sessions_cannot_be_used(session: Session) -> None:
    url = session["webSocketDebuggerUrl"]

    async def attack() -> list[dict[str, Any]]:
        async with connect(url) as owner, connect(url) as other:
            _, page = await owner.open_page()
            answers = [await other.ask("Runtime.evaluate", {"expression": "1"}, page)]
            answers.append(await other.ask("Target.detachFromTarget", {"sessionId": page}))
            message = '{"id":99,"method":"Runtime.evaluate","params":{"expression":"1"},%s}'
            for keys in (
                f'"sessionId":"{page}","sessionId":"{page}"',
                f'"session\\u0049d":"{page}"',
                f'"sessionId":null,"session\\u0049d":"{page}"',
            ):
                await other.socket.send_str(message % keys)
                answers.append(await other.answer(99))
            assert await owner.evaluate("6*7", page) == 42
            return answers

    for answer in run(attack()):
        assert answer["error"]["code"] in (-32001, -32600, -32602), answer


def test_a_message_cannot_hide_a_second_one(session: Session) -> None:
    """NUL ends a message on the pipe: one inside a client's message must never reach it."""
    url = session["webSocketDebuggerUrl"]

    async def attack() -> None:
        async with connect(url) as owner, connect(url) as other:
            _, page = await owner.open_page()
            hidden = f'{{"id":7,"method":"Page.close","params":{{}},"sessionId":"{page}"}}'
            for text in (
                f'{{"id":1,"method":"Browser.getVersion"}}\0{hidden}',
                f'{{"id":1,"method":"Browser.getVersion","params":{{"x":"\0{hidden}\0"}}}}',
                f"\0{hidden}\0",
            ):
                await other.socket.send_str(text)
                assert "error" in await other.receive()
            assert await owner.evaluate("6*7", page) == 42

    run(attack())


def test_events_stay_with_the_client_that_asked(session: Session) -> None:
    url = session["webSocketDebuggerUrl"]

    async def watch() -> None:
        async with connect(url) as first, connect(url) as second:
            _, page = await first.open_page()
            await first.call("Runtime.enable", None, page)
            await first.evaluate("console.log('mine')", page)
            await first.wait_event("Runtime.consoleAPICalled")
            await second.call("Browser.getVersion")
            assert not [e for e in second.events if e["method"].startswith("Runtime.")]

    run(watch())


def test_the_gateway_is_not_root(shared_daemon: Daemon) -> None:
    status = _status(shared_daemon.gateway.pid)
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_session_ids_are_not_logged(shared_daemon: Daemon, session: Session) -> None:
    assert session["id"] not in shared_daemon.text
