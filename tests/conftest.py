"""Fixtures: daemons, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from testing import ROOT
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.site import Site


def _open_files() -> set[str]:
    """Open descriptors by what they are; the ones that differ after a test have leaked."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No child, zombie or descriptor more after a test than before it."""
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    files = _open_files()
    yield
    if _open_files() - files:
        gc.collect()  # what hangs in a circle is closed only now; it takes too long to do always

    def new_children() -> list[psutil.Process]:
        return [c for c in psutil.Process().children(recursive=True) if c.pid not in children]

    wait_for(lambda: not new_children(), "the test's processes are gone")
    try:
        wait_for(lambda: not _open_files() - files, "descriptors are closed", deadline_s=20)
    except AssertionError:
        raise AssertionError(f"left open: {_open_files() - files}") from None


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the test's own."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path) as running:
        yield running


@pytest.fixture
def new_session(shared_daemon: Daemon) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes sessions of the shared daemon, all ended after the test."""
    yield shared_daemon.new
    for session in shared_daemon.ask("GET", "/v1/sessions").json["sessions"]:
        shared_daemon.delete(session["id"])
    wait_for(lambda: not shared_daemon.chromes(), "every session of the test is gone")


@pytest.fixture
def session(new_session: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A session of the shared daemon, ended after the test."""
    return new_session()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for all tests of a module that do it no harm."""
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture
def misbehaving(tmp_path: Path) -> Iterator[Misbehaving]:
    """Makes a daemon whose Chrome is the fake one, with these faults.

    It lies in /var/tmp: sessions have a /tmp of their own, and every uid must be able to run it.
    """
    tmp_path.chmod(0o755)
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="chromepool-test-"))
    folder.chmod(0o755)
    program = folder / "fake-headless-chrome"
    shutil.copy(ROOT / "testing/misbehaving_chrome.py", program)
    program.chmod(0o755)
    (folder / "marks").mkdir()
    (folder / "marks").chmod(0o777)
    (folder / "marks" / "die-once").touch()

    def make(*faults: str, **settings: object) -> Daemon:
        (folder / "faults").write_text(" ".join(faults))
        return Daemon(tmp_path, chrome=program, **settings)

    yield make
    shutil.rmtree(folder)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can get to, as they can to /run; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="chromepool-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
