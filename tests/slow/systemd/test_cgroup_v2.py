"""Sessions under a unified hierarchy with every controller. Assert states here, never speeds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.cdp import connect, run
from testing.daemon import Daemon, is_alive, wait_for
from testing.unit import MIB, lacks, leaf_of

pytestmark = pytest.mark.skipif(bool(lacks()), reason=lacks())


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), start_timeout_s=120) as daemon:
        yield daemon


def test_v2_is_found_and_every_limit_enforced(machine: Daemon) -> None:
    limits = machine.ask("GET", "/v1/status").json["limits"]
    assert limits == {"cgroup": "v2", "enforced": ["memory", "cpu", "pids"]}


def test_the_limits_are_on_the_leaf(machine: Daemon) -> None:
    wanted = {"memory_bytes": 200 * MIB, "pids": 300, "cpu_cores": 0.5}
    session = machine.new(limits=wanted)
    leaf = leaf_of(session)
    assert (leaf / "memory.max").read_text().strip() == str(200 * MIB)
    assert (leaf / "memory.swap.max").read_text().strip() in ("0", "")
    assert (leaf / "pids.max").read_text().strip() == "300"
    assert (leaf / "cpu.max").read_text().strip() == "50000 100000"
    assert (leaf.parent / "memory.max").read_text().strip() == str(1024 * MIB)
    usage = machine.show(session["id"])["usage"]
    assert usage["memory_bytes"] > 10 * MIB
    assert usage["cpu_s"] > 0
    assert usage["processes"] >= 4
    assert machine.delete(session["id"]) == 204
    assert not leaf.exists()


def _warm(daemon: Daemon) -> list[dict[str, Any]]:
    sessions = daemon.ask("GET", "/v1/sessions?all=1").json["sessions"]
    return [session for session in sessions if session["state"] == "frozen"]


def test_one_that_waits_is_frozen_and_thawed_under_its_owners_limits(tmp_path: Path) -> None:
    with Daemon(tmp_path, start_timeout_s=120, warm_sessions=1) as daemon:
        waiting = wait_for(lambda: _warm(daemon), "one waits")[0]
        leaf = leaf_of(waiting)
        freeze = leaf / "cgroup.freeze"
        wait_for(lambda: freeze.read_text().strip() == "1", "the kernel holds it")
        limits = {"memory_bytes": 200 * MIB, "cpu_weight": 50, "cpu_cores": 0.5}
        session = daemon.new(limits=limits)
        assert (session["id"], session["warm"]) == (waiting["id"], True)
        assert freeze.read_text().strip() == "0"
        assert (leaf / "memory.max").read_text().strip() == str(200 * MIB)
        assert (leaf / "cpu.weight").read_text().strip() == "50"
        assert (leaf / "cpu.max").read_text().strip() == "50000 100000"


def test_what_is_frozen_dies_with_a_killed_daemon(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, start_timeout_s=120, warm_sessions=1).start()
    wait_for(lambda: _warm(daemon), "one waits")
    processes = daemon.of_sessions()
    assert len(processes) >= 4
    daemon.process.kill()
    daemon.process.wait()
    wait_for(lambda: not [p for p in processes if is_alive(p)], "all are dead")
    with Daemon(tmp_path, warm_sessions=0):
        """It clears away the folders and groups."""


def test_a_session_over_its_memory_cap_ends_as_out_of_memory(machine: Daemon) -> None:
    session = machine.new(limits={"memory_bytes": 128 * MIB})
    Path(f"/proc/{session['pid']}/oom_score_adj").write_text("1000")

    async def eat() -> tuple[int | None, str]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            hoard = "let a = []; setInterval(() => a.push(new Uint8Array(8e6).fill(1)), 0); 0"
            await client.evaluate(hoard, page)
            return await client.closed()

    code, reason = run(eat())
    assert (code, "out_of_memory" in reason) == (1011, True)
    ended = machine.wait_ended(session["id"])
    assert ended["exit"]["reason"] == "out_of_memory"
    assert ended["exit"]["oom_kills"] >= 1


class _Boxed(Daemon):
    """In a group of its own, of which it sees only the inside and may write nothing: as in a
    container."""

    box = Path("/sys/fs/cgroup/chromepool-box")

    @property
    def argv(self) -> list[str]:
        enter = f"echo $$ > {self.box}/cgroup.procs && exec unshare --cgroup --mount sh -c"
        # A second mount of the same file system on the same point is refused: so umount first.
        steps = "umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"
        steps += " && mount -o remount,bind,ro /sys/fs/cgroup"
        script = f'{enter} \'{steps} && exec "$@"\' sh "$@"'
        return ["sh", "-c", script, "sh", *super().argv]


def test_in_a_container_its_memory_is_what_admission_goes_by(tmp_path: Path) -> None:
    box = _Boxed.box
    box.mkdir()
    try:
        (box / "memory.max").write_text(str(400 * MIB))
        settings = {"start_timeout_s": 120, "max_sessions": 50}
        with _Boxed(tmp_path, **settings) as daemon:
            status = daemon.ask("GET", "/v1/status").json
            assert status["limits"] == {"cgroup": "none", "enforced": []}
            assert status["host"]["memory_bound"] == "/sys/fs/cgroup"
            assert status["memory"]["cap_bytes"] == 400 * MIB
            assert 0 < status["memory"]["left_bytes"] < 400 * MIB
            made = 0
            while (answer := daemon.ask("POST", "/v1/sessions", {})).status == 201:
                made += 1
                assert made < 10
            assert (answer.status, answer.json["code"]) == (503, "insufficient_memory")
            assert made
        assert "oom_kill 0" in (box / "memory.events").read_text().splitlines()
    finally:
        wait_for(lambda: not (box / "cgroup.procs").read_text(), "the box is empty")
        box.rmdir()


def test_a_delegated_unit_is_used_from_within(tmp_path: Path) -> None:
    """systemd gives the unit a group of its own; the pool goes below it, not beside systemd's."""
    daemon = Daemon(tmp_path, start_timeout_s=120)
    unit = f"chromepool-test-{os.getpid()}"
    environment = [f"--setenv=PYTHONPATH={os.environ.get('PYTHONPATH', '')}"]
    begin = ["systemd-run", "--unit", unit, "-p", "Delegate=yes", "-p", "KillMode=mixed"]
    log = tmp_path / "log"
    begin += ["-p", f"StandardOutput=file:{log}", "-p", f"StandardError=file:{log}"]
    begin += ["-p", f"WorkingDirectory={Path.cwd()}"]
    subprocess.run([*begin, *environment, *daemon.argv], check=True)
    try:
        wait_for(lambda: log.exists() and "is ready" in log.read_text(), "the unit serves")
        session = daemon.new()
        leaf = leaf_of(session)
        assert f"{unit}.service/" in str(leaf)
        assert (leaf / "memory.max").read_text().strip() == str(512 * MIB)
        assert daemon.delete(session["id"]) == 204
        daemon.new()
    finally:
        subprocess.run(["systemctl", "stop", unit], check=True)
    state = subprocess.run(
        ["systemctl", "show", unit, "-p", "Result,ActiveState"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "ActiveState=inactive" in state.stdout
    assert "Result=success" in state.stdout
    assert daemon.profiles() == []
