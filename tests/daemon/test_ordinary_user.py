"""The daemon without root: what it still does, and what it says that it can't."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing import ROOT
from testing.cdp import connect, run
from testing.daemon import Daemon, wait_for

_UID = 60450
_PYTHON = "/usr/bin/python3"


def _lacks() -> str:
    """An ordinary user needs an interpreter and packages that are not below root's home."""
    if os.geteuid() != 0:
        return "already an ordinary user: the whole suite runs as one"
    if not Path(_PYTHON).exists():
        return f"there is no {_PYTHON}"
    version = subprocess.run(
        [_PYTHON, "-c", "import sys; print(sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    if version.stdout.strip() != str(sys.version_info[:2]):
        return f"{_PYTHON} is not the Python that the packages were installed for"
    return ""


class _OrdinaryDaemon(Daemon):
    """Run by a user of no rights, from copies that they can read."""

    packages: Path

    @property
    def argv(self) -> list[str]:
        become = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups"]
        environment = ["env", f"PYTHONPATH={self.packages}", f"HOME={self.folder}"]
        return [*become, *environment, _PYTHON, *super().argv[1:]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder of the user's, with the packages beside it."""
    if _lacks():
        pytest.skip(_lacks())
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="chromepool-test-"))
    try:
        ignore = shutil.ignore_patterns("__pycache__", "mypy*", "ruff*", "__editable__*")
        shutil.copytree(sysconfig.get_path("purelib"), folder / "packages", ignore=ignore)
        shutil.copytree(ROOT / "chromepool", folder / "packages" / "chromepool", ignore=ignore)
        home = folder / "home"
        home.mkdir()
        for path in (folder, home):
            os.chown(path, _UID, _UID)
        subprocess.run(["chmod", "-R", "a+rX", folder / "packages"], check=True)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def ordinary(folder: Path) -> Iterator[Daemon]:
    daemon = _OrdinaryDaemon(folder / "home")
    daemon.packages = folder / "packages"
    with daemon:
        yield daemon


def test_what_is_missing_is_said(ordinary: Daemon) -> None:
    status = ordinary.ask("GET", "/v1/status").json
    assert status["limits"] == {"cgroup": "none", "enforced": []}
    assert not status["host"]["privileged"]
    assert status["host"]["sandbox"]
    assert "NOT limited in memory, cpu, pids" in ordinary.text
    assert "share one uid" in ordinary.text


def test_a_session_works_in_the_sandbox_and_leaves_nothing(ordinary: Daemon) -> None:
    session = ordinary.new()
    assert session["limits"]["enforced"] is False
    browser = psutil.Process(session["pid"])
    assert browser.uids().real == _UID

    async def drive() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page("data:text/html,<title>x</title>")
            return await client.evaluate("6*7", page)

    assert run(drive()) == 42
    tree = [browser, *browser.children(recursive=True)]
    renderers = [p for p in tree if "--type=renderer" in p.cmdline()]
    assert renderers
    for renderer in renderers:
        assert "Seccomp:\t2" in Path(f"/proc/{renderer.pid}/status").read_text()
    assert ordinary.show(session["id"])["usage"]["memory_bytes"] > 0
    assert ordinary.delete(session["id"]) == 204
    assert not [process for process in tree if process.is_running()]
    assert ordinary.profiles() == []


def test_orphans_that_left_the_session_are_found_without_control_groups(folder: Path) -> None:
    program = folder / "fake-headless-chrome"
    shutil.copy(ROOT / "testing" / "misbehaving_chrome.py", program)
    program.chmod(0o755)
    (folder / "faults").write_text("spawn-orphans ignore-close")
    home = folder / "another"
    home.mkdir()
    os.chown(home, _UID, _UID)
    daemon = _OrdinaryDaemon(home, chrome=program, close_timeout_s=0.2)
    daemon.packages = folder / "packages"
    with daemon:
        session = daemon.new()
        supervisor = psutil.Process(daemon.pid)
        wait_for(lambda: len(supervisor.children(recursive=True)) == 5, "the orphans are ours")
        assert daemon.delete(session["id"]) == 204
        assert supervisor.children(recursive=True) == [daemon.gateway]


def test_a_killed_chrome_leaves_nothing(ordinary: Daemon) -> None:
    session = ordinary.new()
    tree = psutil.Process(session["pid"]).children(recursive=True)
    psutil.Process(session["pid"]).kill()
    ended = ordinary.wait_ended(session["id"])
    assert ended["exit"]["reason"] == "crashed"
    assert not [process for process in tree if process.is_running()]
