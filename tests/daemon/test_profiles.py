"""Profiles that are kept: one session at a time, and whose they are. Real Chrome."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from testing import uids
from testing.cdp import connect, run
from testing.daemon import Daemon, is_alive, wait_for


def _visit(daemon: Daemon, session: dict[str, Any], expression: str) -> Any:
    """What an expression gives in a page of the daemon's origin: without one is no storage."""

    async def drive() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page(f"{daemon.http_url}/json/version")
            await client.call("Page.enable", session=page)
            while await client.evaluate("document.readyState", page) != "complete":
                continue
            return await client.evaluate(expression, page)

    return run(drive())


def _kept(daemon: Daemon) -> list[Path]:
    return list((daemon.state_dir / "kept").glob("*/*"))


def test_what_a_session_stores_is_there_for_the_next(daemon: Daemon) -> None:
    write = "localStorage.setItem('a', 'kept'); document.cookie = 'c=d; max-age=9999'"
    first = daemon.new(profile="shop")
    _visit(daemon, first, write)
    assert daemon.delete(first["id"]) == 204
    second = daemon.new(profile="shop")
    assert _visit(daemon, second, "localStorage.getItem('a')") == "kept"
    other = daemon.new(profile="other")
    assert _visit(daemon, other, "localStorage.getItem('a')") is None
    assert _visit(daemon, daemon.new(), "localStorage.getItem('a')") is None
    assert sorted(folder.name for folder in _kept(daemon)) == ["other", "shop"]


def test_it_is_locked_until_nothing_of_its_session_is_left(daemon: Daemon) -> None:
    first = daemon.new(profile="shop")
    answer = daemon.ask("POST", "/v1/sessions", {"profile": "shop"})
    assert (answer.status, answer.json["code"]) == (409, "profile_in_use")
    assert "shop" in answer.json["detail"]
    assert daemon.new(profile="other")["state"] == "ready"
    daemon.delete(first["id"])
    assert daemon.new(profile="shop")["state"] == "ready"


def test_its_lock_goes_with_a_chrome_that_is_killed(daemon: Daemon) -> None:
    for _ in range(3):
        session = daemon.new(profile="shop")
        os.kill(session["pid"], signal.SIGKILL)
        assert daemon.wait_ended(session["id"])["exit"]["reason"] == "crashed"
    assert daemon.new(profile="shop")["state"] == "ready"


def test_its_lock_goes_with_the_daemon(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = Daemon(tmp_path).start()
    daemon.new(profile="shop")
    processes = daemon.of_sessions()
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not [p for p in processes if is_alive(p)], "every process of it is dead")
    with Daemon(tmp_path) as again:
        assert again.new(profile="shop")["state"] == "ready"


def test_an_owner_has_so_many_and_no_more(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, kept_profiles=2) as daemon:
        for name in ("a", "b", "a"):
            daemon.delete(daemon.new(profile=name)["id"])
        answer = daemon.ask("POST", "/v1/sessions", {"profile": "c"})
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
        assert "2 kept profiles" in answer.json["detail"]


def test_a_start_that_fails_leaves_no_lock(daemon: Daemon) -> None:
    bad = {"profile": "shop", "timezone": "Moon/Crater"}
    assert daemon.ask("POST", "/v1/sessions", bad).status == 400
    assert daemon.new(profile="shop")["state"] == "ready"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives sessions uids of their own")
def test_it_keeps_its_uid_and_nobody_else_has_that(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    base = uids.new_range()
    settings = {"uid_base": base, "uid_count": 3, "gateway_uid": base + 50}
    with Daemon(tmp_path, **settings) as daemon:
        daemon.delete(daemon.new(profile="shop")["id"])
        uid = _kept(daemon)[0].stat().st_uid
        for _ in range(4):
            session = daemon.new()
            assert Path(f"/proc/{session['pid']}").stat().st_uid != uid
            daemon.delete(session["id"])
        again = daemon.new(profile="shop")
        assert Path(f"/proc/{again['pid']}").stat().st_uid == uid
    with Daemon(tmp_path, **settings) as later:
        others = [later.new() for _ in range(2)]
        assert uid not in {Path(f"/proc/{s['pid']}").stat().st_uid for s in others}
        assert later.ask("POST", "/v1/sessions").json["code"] == "start_failed"
        assert later.new(profile="shop")["state"] == "ready"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives sessions uids of their own")
def test_one_that_belongs_to_another_uid_is_taken_over_at_the_start(tmp_path: Path) -> None:
    """Copied by root, say: a Chrome must not run as whoever owns the folder."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path) as daemon:
        daemon.delete(daemon.new(profile="shop")["id"])
        folder = _kept(daemon)[0]
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
    with Daemon(tmp_path) as daemon:
        session = daemon.new(profile="shop")
        uid = Path(f"/proc/{session['pid']}").stat().st_uid
        assert uid != 0
        assert {path.lstat().st_uid for path in (folder, *folder.iterdir())} == {uid}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives sessions uids of their own")
def test_another_session_cannot_read_it(daemon: Daemon) -> None:
    kept = daemon.new(profile="shop")
    _visit(daemon, kept, "localStorage.setItem('a', 'secret')")
    spy = daemon.new()

    async def look() -> Any:
        async with connect(spy["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page(f"file://{_kept(daemon)[0]}/")
            await client.call("Page.enable", session=page)
            return await client.evaluate("document.documentElement.outerHTML", page)

    assert "Default" not in run(look())


def test_a_download_lands_in_the_sessions_own_folder_or_nowhere(daemon: Daemon) -> None:
    click = (
        "(() => { const a = document.createElement('a');"
        "a.href = URL.createObjectURL(new Blob(['saved'])); a.download = 'file.txt';"
        "a.click(); })()"
    )
    allowed, denied = daemon.new(downloads="allow"), daemon.new(downloads="deny")
    for session in (denied, allowed):
        _visit(daemon, session, click)

    def found() -> list[Path]:
        return list(daemon.state_dir.glob("profiles/*/Downloads/file.txt"))

    wait_for(found, "the file is saved")
    wait_for(lambda: found()[0].read_text() == "saved", "all of it is")
    assert len(found()) == 1
