"""Fixtures: daemons, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import gc
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

from testing import ROOT
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.daemon_pool import DaemonPool, Daemons
from testing.leak_check import children, open_files
from testing.scheduling import Scheduling
from testing.site import Site

# How long an example takes is the machine's business. What fails can be done again from the report.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")
NEED_A_DAEMON = {"daemon", "daemons", "shared_daemon", "misbehaving"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test by its tier: ``slow``, ``daemon``, or none, which is a unit test."""
    for item in items:
        tier = item.path.relative_to(ROOT / "tests").parts[0]
        if tier == "slow":
            item.add_marker("slow")
        elif tier == "daemon" or NEED_A_DAEMON.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("daemon")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Asked in a parallel run only."""
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def daemon_pool() -> Iterator[DaemonPool]:
    """The daemons that tests share; one pool for each process of a test run."""
    pool = DaemonPool()
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def nothing_left(daemon_pool: DaemonPool) -> Iterator[None]:
    """No child, zombie or descriptor more after a test than before it."""
    before, files = children(), open_files()
    yield

    def new_children() -> set[psutil.Process]:
        return children() - before - daemon_pool.processes()

    def new_files() -> set[str]:
        return open_files() - files - daemon_pool.files

    if new_files():
        gc.collect()  # what hangs in a circle is closed only now; it takes too long to do always
    wait_for(lambda: not new_children(), "the test's processes are gone")
    try:
        wait_for(lambda: not new_files(), "descriptors are closed", deadline_s=20)
    except AssertionError:
        raise AssertionError(f"left open: {new_files()}") from None


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of the test's own."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path) as running:
        yield running


@pytest.fixture
def daemons(daemon_pool: DaemonPool, nothing_left: None) -> Iterator[Daemons]:
    """Gives the shared daemon that has these settings, to tests that do it no harm."""
    yield lambda **settings: daemon_pool.get(settings)
    daemon_pool.check()


@pytest.fixture
def shared_daemon(daemons: Daemons) -> Daemon:
    """The shared daemon without any settings."""
    return daemons()


@pytest.fixture
def new_session(shared_daemon: Daemon) -> Callable[..., dict[str, Any]]:
    """Makes sessions of the shared daemon, all ended after the test."""
    return shared_daemon.new


@pytest.fixture
def session(new_session: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A session of the shared daemon, ended after the test."""
    return new_session()


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
