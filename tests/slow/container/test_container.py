"""The image: built from the Dockerfile, run without root, driven from outside, stopped."""

from __future__ import annotations

import json
import os
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import chromepool
from testing import ROOT, container
from testing.clients import assert_driven, run
from testing.container import MARK, Container, Engine
from testing.daemon import wait_for
from testing.site import Site

pytestmark = [
    pytest.mark.chrome,
    pytest.mark.root,
    pytest.mark.timeout(1500),
]

MIB = 1024 * 1024
PROFILE = ROOT / "deploy/seccomp.json"
DEFAULT = ROOT / "deploy/seccomp-default.json"
SECCOMP = runpy.run_path(str(ROOT / "scripts/seccomp"))
LOCKED = (
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:noexec,nosuid,size=256m",
)
"""As little as it can do with: no capability, and nothing to write to but /tmp."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if container.lacks():
        # Where they must run, a missing tool is a failure.
        say = pytest.fail if os.environ.get("CHROMEPOOL_CONTAINER_TESTS") == "1" else pytest.skip
        say(f"containers: {container.lacks()}")
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    return engine.build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module", params=[(), LOCKED], ids=["plain", "locked"])
def running(request: pytest.FixtureRequest, engine: Engine, image: str) -> Iterator[Container]:
    """One for all tests that do it no harm."""
    options = (f"--security-opt=seccomp={PROFILE}", *request.param)
    settings = {"MAX_SESSIONS": 2, "CHROMEPOOL_WARM_SESSIONS": 0}
    with Container(engine, image, *options, **settings) as daemon:
        yield daemon


@pytest.fixture
def session(running: Container) -> Iterator[dict[str, Any]]:
    yield running.say("new")
    assert running.exec("chromepool", "rm", "--all").returncode == 0


# -- the seccomp profile --


@pytest.mark.parametrize("call", ["chroot", "clone", "unshare", ""])
def test_the_sandbox_needs_each_of_them(
    engine: Engine, image: str, tmp_path: Path, call: str
) -> None:
    """Chrome itself is started: what it says has the name of the sandbox in it."""
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"][-1]["names"] = [n for n in SECCOMP["NEEDED"] if n != call]
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    chrome = "/usr/lib/chromium/chromium-headless-shell --disable-gpu --dump-dom about:blank"
    options = [f"--security-opt=seccomp={path}", *LOCKED, "--rm", "--network=host"]
    options += [f"--cgroup-parent=/{engine.parent}", '--entrypoint=["sh", "-c"]']
    done = engine.run("run", *options, image, chrome)
    if call:
        assert done.returncode != 0
        assert "sandbox" in done.stderr or "sys_chroot" in done.stderr
    else:
        assert "<body>" in done.stdout, done.stderr


def test_under_the_engines_default_it_says_what_is_missing(engine: Engine, image: str) -> None:
    options = [f"--security-opt=seccomp={DEFAULT}", "--rm", "--network=host"]
    options += [f"--cgroup-parent=/{engine.parent}"]
    done = engine.run("run", *options, image)
    assert done.returncode == 1
    assert "Chrome's sandbox cannot start" in done.stderr
    assert "deploy/seccomp.json" in done.stderr


# -- what is in the image --


def test_nothing_of_the_build_machine_is_in_the_image(engine: Engine, image: str) -> None:
    look = f"""
        grep -rIls --exclude-dir=proc --exclude-dir=sys {MARK} / ; ls -A /mnt ; ls /etc/pip.conf
        ls -A /usr/local/share/ca-certificates
        grep -v ' http://deb.debian.org/' /etc/apt/sources.list
        ls /opt/chromepool/lib/python3*/site-packages | grep -x -E 'pip|setuptools'
        ls -A /var/lib/apt/lists /var/cache/apt /root/.cache
        [ $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt) = \
          $(find /usr/share/ca-certificates -name '*.crt' | wc -l) ] || echo foreign certificates
        echo looked
    """
    options = ["--rm", "--user=0", "--network=none", f"--cgroup-parent=/{engine.parent}"]
    found = engine.run("run", *options, '--entrypoint=["sh", "-c"]', image, look)
    listed = [line for line in found.stdout.splitlines() if not line.startswith("/var/")]
    assert [line for line in listed if line] == ["looked"]
    assert MARK not in engine("history", "--no-trunc", image) + engine("inspect", image)


def test_the_image_says_what_it_is(engine: Engine, image: str) -> None:
    found = json.loads(engine("image", "inspect", image))[0]
    assert found["User"] == "1000:1000"
    assert found["Healthcheck"]["Test"] == ["CMD", "chromepool", "health"]
    assert found["Labels"]["org.opencontainers.image.version"] == chromepool.__version__
    assert "--no-sandbox" not in json.dumps(found)


# -- a container that runs --


def test_it_is_healthy(running: Container) -> None:
    assert running.engine("healthcheck", "run", running.name) == ""
    assert "ready" in running.exec("chromepool", "health", "--ready").stdout


def test_a_gateway_that_hangs_is_not_healthy(running: Container) -> None:
    gateway = next(p for p in running.processes() if "chromepool.gateway" in p.cmdline())
    gateway.send_signal(signal.SIGSTOP)
    try:
        assert running.engine.run("healthcheck", "run", running.name).returncode == 1
    finally:
        gateway.send_signal(signal.SIGCONT)
    wait_for(
        lambda: running.engine.run("healthcheck", "run", running.name).returncode == 0,
        "it is healthy again",
    )


@pytest.mark.parametrize("client", ["puppeteer", "pyppeteer"])
def test_it_is_driven_from_outside(
    running: Container, session: dict[str, Any], site: Site, client: str
) -> None:
    endpoint = session["webSocketDebuggerUrl"]
    assert_driven(run(client, "drive", endpoint=endpoint, url=site.url("/page"), mark=client))


def _field(process: psutil.Process, name: str) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def _user_namespace(process: psutil.Process) -> str:
    return os.readlink(f"/proc/{process.pid}/ns/user")


def test_the_sandbox_is_on_and_nobody_is_root(running: Container, session: dict[str, Any]) -> None:
    everything = [running.process, *running.processes()]
    assert {uid for process in everything for uid in process.uids()} == {1000}

    def renderers() -> list[psutil.Process]:
        return [p for p in running.processes() if "--type=renderer" in p.cmdline()]

    def shut_in(renderer: psutil.Process) -> bool:
        # The engine's filter is on every process; Chrome puts its own on top of it.
        filters = _field(renderer, "Seccomp_filters") > _field(running.process, "Seccomp_filters")
        return filters and _user_namespace(renderer) != _user_namespace(running.process)

    assert wait_for(renderers, "there are renderers")
    wait_for(lambda: all(map(shut_in, renderers())), "every renderer is in its sandbox")
    assert not [p for p in everything if "--no-sandbox" in p.cmdline()]


def test_orphans_are_reaped(running: Container) -> None:
    """They become children of process 1, which is the daemon, and no zombie stays."""

    def orphans() -> list[psutil.Process]:
        return [child for child in running.process.children() if child.pid in strangers]

    before = {process.pid for process in running.processes()}
    script = "for i in 1 2 3 4 5; do (sleep 1000 &); done"
    assert running.exec("sh", "-c", script).returncode == 0
    strangers = {process.pid for process in running.process.children()} - before
    assert len(strangers) == 5
    for orphan in orphans():
        orphan.kill()
    wait_for(lambda: not orphans(), "the orphans are reaped")


def test_max_sessions_of_the_environment_holds(running: Container, session: dict[str, Any]) -> None:
    assert running.say("status")["sessions"]["max"] == 2
    running.say("new")
    refused = running.exec("chromepool", "new")
    assert refused.returncode == 1
    assert "2" in refused.stderr
    assert len(running.sessions()) == 2
    assert running.exec("chromepool", "health", "--ready").returncode == 1


def test_the_containers_memory_is_what_admission_goes_by(engine: Engine, image: str) -> None:
    options = (f"--security-opt=seccomp={PROFILE}", "--memory=400m", "--memory-swap=400m")
    settings = {"MAX_SESSIONS": 50, "CHROMEPOOL_WARM_SESSIONS": 0}
    with Container(engine, image, *options, **settings) as daemon:
        memory = daemon.say("status")["memory"]
        assert memory["cap_bytes"] == 400 * MIB
        assert 0 < memory["left_bytes"] < 400 * MIB
        made = []
        while (answer := daemon.exec("chromepool", "new", "--json")).returncode == 0:
            made.append(json.loads(answer.stdout)["id"])
            assert len(made) < 10
        assert "no memory for another Chrome" in answer.stderr
        assert made
        alive = [session["id"] for session in daemon.sessions() if session["state"] == "ready"]
        assert sorted(alive) == sorted(made)
        assert not daemon.inspect()["State"]["OOMKilled"]
        assert daemon.exec("chromepool", "rm", made[0]).returncode == 0
        wait_for(lambda: daemon.exec("chromepool", "new").returncode == 0, "there is room again")


@pytest.mark.parametrize("options", [(), LOCKED], ids=["plain", "locked"])
def test_it_stops_by_itself_and_leaves_nothing(
    engine: Engine, image: str, options: tuple[str, ...]
) -> None:
    with Container(engine, image, f"--security-opt=seccomp={PROFILE}", *options) as daemon:
        daemon.say("new")
        everything = [daemon.process, *daemon.processes()]
        assert len(everything) > 5
        assert daemon.stop() == 0
        assert "daemon.stopped" in daemon.log()
        gone, alive = psutil.wait_procs(everything, timeout=10)
        assert alive == []
        assert len(gone) == len(everything)
        identity = daemon.inspect()["Id"]
    groups = [Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if identity in folder]
    assert groups == []
    assert daemon.name not in engine("ps", "--all")
