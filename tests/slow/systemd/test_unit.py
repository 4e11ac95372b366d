"""The system units under a real systemd, installed as users install them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromepool.supervisor.linux.cgroup import tree as cgroup
from testing.cdp import connect
from testing.cdp import run as run_async
from testing.daemon import wait_for
from testing.unit import DEADLINE_S, MIB, Unit, lacks, leaf_of, make_command, run

_INSTALLED = Path("/etc/systemd/system/chromepool.service")
_SETTINGS = Path("/etc/chromepool/chromepool.yaml")


def _refuses() -> str:
    if not lacks() and (_INSTALLED.exists() or _SETTINGS.exists()):
        return "a chromepool is installed here already"
    return lacks()


pytestmark = pytest.mark.skipif(bool(_refuses()), reason=_refuses())

SETTINGS = "creations_per_minute: 0\nwarm_sessions: 0\nmax_sessions: {places}\n"
MOST_EXPOSED = 4.0


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = Path("/opt/chromepool-test")
    yield make_command(folder)
    run("rm", "-rf", folder)


@pytest.fixture(scope="module")
def installed(command: Path) -> Iterator[Unit]:
    """Installed and enabled; what a test does to it, the next one sees."""
    _SETTINGS.parent.mkdir(exist_ok=True)
    _SETTINGS.write_text(SETTINGS.format(places=4))
    run(command, "install")
    unit = Unit(Path("/run/chromepool"), Path("/var/lib/chromepool"))
    yield unit
    run(command, "uninstall")
    _SETTINGS.unlink()
    assert unit.cgroups() == []


@pytest.fixture
def unit(installed: Unit) -> Iterator[Unit]:
    """It runs, and has no session after the test either."""
    installed.systemctl("start", "chromepool.socket", "chromepool.service")
    yield installed
    if installed.state == "active":
        for session in installed.ask("GET", "/v1/sessions").json["sessions"]:
            installed.delete(session["id"])


def test_installing_again_changes_nothing(unit: Unit, command: Path) -> None:
    before = unit.pid
    told = run(command, "install").splitlines()
    assert [line.split()[0] for line in told[:4]] == ["unchanged"] * 4
    assert unit.pid == before


def test_it_is_enabled(unit: Unit) -> None:
    assert unit.systemctl("is-enabled", "chromepool.service") == "enabled"
    assert unit.systemctl("is-enabled", "chromepool.socket") == "enabled"


def test_systemd_finds_nothing_wrong_with_the_units(unit: Unit) -> None:
    assert run("systemd-analyze", "verify", _INSTALLED, _INSTALLED.with_suffix(".socket")) == ""


def test_what_it_is_exposed_to_is_little(unit: Unit) -> None:
    told = run("systemd-analyze", "security", "--no-pager", "chromepool.service")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED, told


def test_the_first_call_of_the_api_starts_it(unit: Unit) -> None:
    unit.start_anew()
    assert unit.ask("GET", "/healthz").status == 200
    wait_for(lambda: unit.state == "active", "it is active", DEADLINE_S, 0.2)
    assert unit.told("StatusText") == "serving: 0 Chromes, room for 4 sessions"


def test_the_first_call_of_the_devtools_endpoint_starts_it(unit: Unit) -> None:
    unit.start_anew()
    assert unit.get("/json/version").status == 200
    wait_for(lambda: unit.state == "active", "it is active", DEADLINE_S, 0.2)


def test_a_session_is_driven_under_its_limits(unit: Unit) -> None:
    session = unit.new(limits={"memory_bytes": 200 * MIB, "pids": 300})
    leaf = leaf_of(session)
    assert leaf.is_relative_to(unit.unit_group)
    assert (leaf / "memory.max").read_text().strip() == str(200 * MIB)
    assert (leaf / "pids.max").read_text().strip() == "300"
    assert (leaf.parent / "memory.max").read_text().strip() == str(1024 * MIB)
    assert unit.show(session["id"])["usage"]["files"] > 0, "the daemon may count them"

    async def drive() -> object:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            return await client.evaluate("6 * 7", page)

    assert run_async(drive()) == 42
    assert unit.delete(session["id"]) == 204
    assert not leaf.exists()


def _status(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_chrome_s_sandbox_is_on(unit: Unit) -> None:
    session = unit.new()
    browser = _status(session["pid"])

    def filters() -> list[int]:
        pids = (leaf_of(session) / "cgroup.procs").read_text().split()
        return [int(_status(pid)["Seccomp_filters"]) for pid in pids]

    assert browser["Uid"].split()[0] != "0"
    # The unit's own filters are on all of them; the sandbox's come on top.
    own = int(browser["Seccomp_filters"])
    wait_for(lambda: max(filters()) > own, "a process is in the sandbox", DEADLINE_S, 0.2)
    namespaces = {
        os.readlink(f"/proc/{pid}/ns/user")
        for pid in (leaf_of(session) / "cgroup.procs").read_text().split()
    }
    assert len(namespaces) > 1


def test_a_session_out_of_memory_ends_alone(unit: Unit) -> None:
    other = unit.new()
    session = unit.new(limits={"memory_bytes": 128 * MIB})
    leaf = leaf_of(session)
    Path(f"/proc/{session['pid']}/oom_score_adj").write_text("1000")

    async def eat() -> str:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            hoard = "let a = []; setInterval(() => a.push(new Uint8Array(8e6).fill(1)), 0); 0"
            await client.evaluate(hoard, page)
            return (await client.closed())[1]

    assert "out_of_memory" in run_async(eat())
    assert unit.wait_ended(session["id"])["exit"]["oom_kills"] >= 1
    assert not leaf.exists()
    # What the group counted is handed up when it is removed.
    seen = (leaf.parent / "memory.events").read_text().splitlines()
    assert any(re.fullmatch(r"oom_kill [1-9]\d*", line) for line in seen), seen
    assert unit.state == "active"
    assert unit.show(other["id"])["state"] == "ready"


def test_a_reload_takes_settings_up_and_keeps_sessions(unit: Unit) -> None:
    session, before = unit.new(), unit.pid
    _SETTINGS.write_text(SETTINGS.format(places=3))
    unit.systemctl("reload", "chromepool.service")
    wait_for(
        lambda: unit.ask("GET", "/v1/status").json["sessions"]["max"] == 3,
        "the setting is taken up",
        DEADLINE_S,
        0.2,
    )
    assert unit.show(session["id"])["state"] == "ready"
    assert (unit.pid, unit.state) == (before, "active")


def test_a_killed_gateway_does_not_end_the_unit(unit: Unit) -> None:
    before, gateway = unit.pid, unit.gateway
    gateway.send_signal(signal.SIGKILL)
    wait_for(lambda: not gateway.is_running(), "it is dead", DEADLINE_S, 0.2)
    assert unit.ask("GET", "/healthz").status == 200, "connections wait for the next one"
    assert unit.gateway != gateway
    assert (unit.pid, unit.state) == (before, "active")
    assert unit.delete(unit.new()["id"]) == 204


def _remember(session: dict[str, Any]) -> str:
    """Leaves something in a page; its target."""

    async def prepare() -> str:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            target, page = await client.open_page()
            await client.evaluate("window.kept = 41", page)
            return target

    return run_async(prepare())


def _assert_kept(unit: Unit, session: dict[str, Any], target: str) -> None:
    """It is the same Chrome, with the same page, under the same limits."""
    wait_for(lambda: unit.show(session["id"])["state"] == "ready", "it is adopted", DEADLINE_S, 0.2)
    assert unit.show(session["id"])["pid"] == session["pid"]

    async def look() -> object:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            return await client.evaluate("window.kept + 1", await client.attach(target))

    assert run_async(look()) == 42
    leaf = leaf_of(session)
    assert leaf.is_relative_to(unit.unit_group)
    assert (leaf / "memory.max").read_text().strip() == str(session["limits"]["memory_bytes"])
    assert (leaf / "pids.max").read_text().strip() == str(session["limits"]["pids"])


def test_sessions_outlive_a_killed_gateway_and_a_reload(unit: Unit) -> None:
    session = unit.new(limits={"memory_bytes": 200 * MIB})
    target, gateway = _remember(session), unit.gateway
    gateway.send_signal(signal.SIGKILL)
    wait_for(lambda: not gateway.is_running(), "it is dead", DEADLINE_S, 0.2)
    _assert_kept(unit, session, target)
    gateway = unit.gateway
    unit.systemctl("reload", "chromepool.service")
    wait_for(lambda: not gateway.is_running(), "it has left", DEADLINE_S, 0.2)
    _assert_kept(unit, session, target)
    assert unit.delete(session["id"]) == 204


def test_sessions_outlive_a_killed_daemon(unit: Unit) -> None:
    """On this systemd the unit's group has to be made ready for the next one (EBUSY otherwise)."""
    session = unit.new(limits={"memory_bytes": 200 * MIB, "pids": 300})
    target = _remember(session)
    for _ in range(2):
        unit.kill_daemon()
        _assert_kept(unit, session, target)
    new = unit.new()
    assert (leaf_of(new) / "memory.max").read_text().strip() == str(512 * MIB)
    leaf = leaf_of(session)
    assert unit.delete(session["id"]) == 204
    assert not leaf.exists()
    assert unit.delete(new["id"]) == 204


def test_sessions_outlive_a_restart_of_the_daemon(unit: Unit) -> None:
    session = unit.new(limits={"memory_bytes": 200 * MIB})
    target, before = _remember(session), unit.pid
    unit.systemctl("restart", "chromepool.service")
    assert unit.pid != before
    _assert_kept(unit, session, target)
    assert unit.delete(session["id"]) == 204


def test_a_stop_ends_those_of_an_earlier_life_too(unit: Unit) -> None:
    session = unit.new()
    unit.kill_daemon()
    wait_for(lambda: unit.show(session["id"])["state"] == "ready", "it is adopted", DEADLINE_S, 0.2)
    unit.stop_unit()


_SUBGROUP = """ExecStart=
ExecStart=/bin/bash -c "mkdir -p {group}/daemon; echo $$$$ >{group}/daemon/cgroup.procs; \\
    exec {command} serve"
"""


def test_a_daemon_that_is_put_into_a_subgroup_uses_the_group_above(
    unit: Unit, command: Path
) -> None:
    """As ``DelegateSubgroup=daemon`` does it, which older systemds have not."""
    with unit.changed(_SUBGROUP.format(group=unit.unit_group, command=command)):
        leaf = leaf_of(unit.new())
        assert leaf.parents[1] == unit.unit_group
        assert (leaf / "memory.max").read_text().strip() == str(512 * MIB)
        assert unit.pid in cgroup.read_pids(unit.unit_group / "daemon")
    unit.systemctl("restart", "chromepool.service")


def test_a_daemon_that_stands_still_is_started_again(unit: Unit) -> None:
    with unit.changed("WatchdogSec=5"):
        before = unit.pid
        os.kill(before, signal.SIGSTOP)
        unit.wait_for_another(before)
        assert "Watchdog timeout" in run("journalctl", "-u", "chromepool", "--no-pager")
        assert unit.delete(unit.new()["id"]) == 204
    unit.systemctl("restart", "chromepool.service")


def test_a_hung_daemon_that_is_stopped_leaves_nothing(unit: Unit) -> None:
    """The kernel holds it, so it hears no SIGTERM; systemd kills it after TimeoutStopSec."""
    with unit.changed("TimeoutStopSec=3"):
        unit.new()
        processes, group = unit.everything(), unit.unit_group
        (group / "daemon" / "cgroup.freeze").write_text("1")
        unit.systemctl("stop", "chromepool.service")
        assert unit.told("Result") == "timeout"
        assert [process for process in processes if process.is_running()] == []
        assert not group.exists()
        assert unit.profiles() == []


def test_a_daemon_that_drained_and_left_is_not_started_by_who_waited(
    unit: Unit, command: Path
) -> None:
    session, before = unit.new(), unit.told("ExecMainStartTimestampMonotonic")
    argv = [str(command), "drain", "--wait", "--exit"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "draining: 1 sessions left\n"
        assert unit.delete(session["id"]) == 204
        assert waiting.wait(DEADLINE_S) == 0
    wait_for(lambda: unit.state == "inactive", "it has left", DEADLINE_S, 0.2)
    assert unit.told("Result") == "success"
    assert unit.told("ExecMainStartTimestampMonotonic") == before
    assert unit.systemctl("is-active", "chromepool.socket") == "active"


def test_a_stop_leaves_nothing(unit: Unit) -> None:
    for _ in range(2):
        unit.new()
    assert len(unit.leaves()) == 2
    unit.stop_unit()
    assert not Path("/run/chromepool/control.sock").exists()
    said = run("journalctl", "-u", "chromepool", "-o", "cat", "--no-pager")
    assert '"left": 0, "of": 2' in said


def test_uninstalling_removes_what_was_installed(unit: Unit, command: Path) -> None:
    unit.new()
    run(command, "uninstall")
    assert not _INSTALLED.exists()
    assert unit.cgroups() == []
    assert unit.profiles() == []
    assert unit.systemctl("show", "--value", "-p", "LoadState", "chromepool.service") != "loaded"
    run(command, "uninstall")
