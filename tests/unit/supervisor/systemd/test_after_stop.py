"""What is done once the daemon's own process is gone, on groups of this machine's."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chromepool.config import Settings
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup.v2 import choose_base, mount_point
from chromepool.supervisor.reconcile import RECORD
from chromepool.supervisor.systemd import jobs
from chromepool.supervisor.systemd.after_stop import (
    after_stop,
    disable_controllers,
    restarts,
)
from chromepool.supervisor.systemd.guardian import Guardian
from testing.daemon import wait_for

_POINT = mount_point(Path("/proc/self/mountinfo").read_text())
needs_groups = pytest.mark.skipif(
    _POINT is None or not os.access(_POINT / "cgroup.procs", os.W_OK),
    reason="no cgroup v2 to make groups in",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "profiles").mkdir()
    return Settings(state_dir=str(tmp_path), runtime_dir=str(tmp_path))


@pytest.fixture
def pool(settings: Settings) -> Iterator[Path]:
    """A pool's group, with the leaf s1, written down as a daemon does."""
    assert _POINT is not None
    folder = _POINT / f"chromepool-test-{os.getpid()}"
    (folder / "s1").mkdir(parents=True)
    (Path(settings.state_dir) / RECORD).write_text(str(folder))
    (settings.profiles_dir / "s1").mkdir()
    yield folder
    cgroup.kill_pids(folder / "s1")
    wait_for(lambda: _removed(folder), "the group is gone")


def _removed(folder: Path) -> bool:
    try:
        cgroup.remove_tree(folder)
    except OSError:
        return False
    return True


@pytest.fixture
def sleeper(pool: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the leaf."""
    process = subprocess.Popen(["sleep", "600"])
    cgroup.write(pool / "s1" / "cgroup.procs", process.pid)
    yield process
    process.kill()
    process.wait()


def _store(settings: Settings) -> Settings:
    return dataclasses.replace(settings, fd_store=True)


@needs_groups
@pytest.mark.parametrize("result", ["success", "timeout", "resources", "start-limit-hit", ""])
def test_after_the_end_nothing_is_left(
    settings: Settings, pool: Path, sleeper: subprocess.Popen[bytes], result: str
) -> None:
    after_stop(_store(settings), {"SERVICE_RESULT": result}, keep_controllers=False)
    assert sleeper.wait(20) == -signal.SIGKILL
    assert not pool.exists()
    assert list(settings.profiles_dir.iterdir()) == []


@needs_groups
@pytest.mark.parametrize("result", ["signal", "core-dump", "watchdog", "exit-code", "oom-kill"])
def test_sessions_are_left_to_the_next_daemon(
    settings: Settings, pool: Path, sleeper: subprocess.Popen[bytes], result: str
) -> None:
    after_stop(_store(settings), {"SERVICE_RESULT": result}, keep_controllers=False)
    assert sleeper.poll() is None
    assert cgroup.read_pids(pool / "s1") == [sleeper.pid]
    assert [path.name for path in settings.profiles_dir.iterdir()] == ["s1"]


@needs_groups
def test_without_a_store_nothing_is_kept(
    settings: Settings, pool: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    after_stop(settings, {"SERVICE_RESULT": "signal"}, keep_controllers=False)
    assert sleeper.wait(20) == -signal.SIGKILL
    assert not pool.exists()


@needs_groups
def test_what_a_living_daemon_has_is_not_touched(
    settings: Settings, pool: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    with (Path(settings.state_dir) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        after_stop(settings, {"SERVICE_RESULT": "success"}, keep_controllers=False)
    assert sleeper.poll() is None
    assert pool.exists()


def test_a_daemon_that_never_got_so_far_left_nothing(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path / "none"), runtime_dir=str(tmp_path))
    after_stop(settings, {"SERVICE_RESULT": "exit-code"}, keep_controllers=False)
    assert not (tmp_path / "none").exists()


def test_only_a_folder_of_the_pool_s_is_removed(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "system.slice"
    other.mkdir()
    (Path(settings.state_dir) / RECORD).write_text(f"{other}\n")
    after_stop(settings, {"SERVICE_RESULT": "success"}, keep_controllers=False)
    assert other.exists()


def test_a_crash_is_followed_by_a_restart() -> None:
    assert restarts("signal", None)
    assert not restarts("success", None)


@needs_groups
def test_a_store_that_the_file_asks_for_counts(
    settings: Settings, pool: Path, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "chromepool.yaml"
    file.write_text(f"fd_store: true\nstate_dir: {tmp_path}\nruntime_dir: {tmp_path}\n")
    command = [sys.executable, "-m", "chromepool.cli.main", "--config", str(file)]
    command.append("after-stop")
    environ = {n: v for n, v in os.environ.items() if not n.startswith("CHROMEPOOL_")}
    subprocess.run(command, env=environ | {"SERVICE_RESULT": "signal"}, check=True)
    assert sleeper.poll() is None
    file.write_text(file.read_text().replace("true", "false"))
    subprocess.run(command, env=environ | {"SERVICE_RESULT": "signal"}, check=True)
    assert sleeper.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("systemctl", "said"),
    [
        ("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n", "Failed to connect to bus"),
        ("#!/bin/sh\nexit 4\n", "it exited with 4"),
        ("#!/bin/sh\nexec sleep 60\n", "timed out"),
        (None, "No such file"),
    ],
)
def test_a_systemctl_that_does_not_tell_is_told_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    systemctl: str | None,
    said: str,
) -> None:
    if systemctl is not None:
        (tmp_path / "systemctl").write_text(systemctl)
        (tmp_path / "systemctl").chmod(0o755)
    if "sleep" in (systemctl or ""):
        monkeypatch.setattr(jobs, "_SYSTEMCTL_S", 0.1)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert jobs.pending_job(Path("/sys/fs/cgroup/system.slice/chromepool.service")) == ""
    (record,) = caplog.records
    assert record.getMessage() == "systemctl.failed"
    assert said in str(vars(record)["fields"]["error"])


def test_a_job_is_told_by_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "#!/bin/sh\necho 7 other.service stop waiting\necho 8 a.service restart running\n"
    (tmp_path / "systemctl").write_text(script)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jobs.pending_job(Path("/sys/fs/cgroup/system.slice/a.service")) == "restart"
    assert jobs.pending_job(Path("/sys/fs/cgroup/system.slice/b.service")) == ""


def _fake_unit(tmp_path: Path) -> tuple[Path, Path]:
    unit = tmp_path / "chromepool.service"
    pool = unit / "chromepool-0123456789"
    pool.mkdir(parents=True)
    for folder in (unit, pool):
        (folder / "cgroup.subtree_control").write_text("memory pids\n")
        (folder / "cgroup.procs").write_text("")
    return unit, pool


def test_controllers_are_taken_back_in_the_unit_only(tmp_path: Path) -> None:
    unit, pool = _fake_unit(tmp_path)
    disable_controllers(pool, tmp_path)
    assert (unit / "cgroup.subtree_control").read_text() == "memory pids\n"
    disable_controllers(pool, unit)
    for folder in (pool, unit):  # a plain file keeps the last word; the kernel does all of them
        assert (folder / "cgroup.subtree_control").read_text() == "-pids\n"


def test_a_daemon_in_its_subgroup_uses_the_group_above(tmp_path: Path) -> None:
    unit, _ = _fake_unit(tmp_path)
    own = unit / "daemon"
    own.mkdir()
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    assert choose_base(tmp_path, own) == unit
    (unit / "cgroup.procs").write_text("1\n")
    assert choose_base(tmp_path, own) != unit, "others are in it"


# -- the guardian's patience --


class _Leaf:
    """What a guardian kills; that it did so is seen in a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def kill(self) -> None:
        self._mark.touch()

    def pids(self) -> list[int]:
        return []

    def remove(self) -> None:
        pass


class _Tree:
    freezer = False

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def leftovers(self) -> list[_Leaf]:
        return [_Leaf(self._mark)]


MakeGuardian = Callable[[float], Guardian]


@pytest.fixture
def make_guardian(tmp_path: Path) -> MakeGuardian:
    def make(patience_s: float) -> Guardian:
        tree = _Tree(tmp_path / "killed")
        return Guardian(tree, lock=tmp_path / "lock", patience_s=patience_s)  # type: ignore[arg-type]

    return make


def test_it_is_needed_where_sessions_may_outlive_the_supervisor(
    make_guardian: MakeGuardian,
) -> None:
    assert make_guardian(30).needed
    assert not make_guardian(0).needed


def test_it_goes_quietly_when_another_supervisor_is_there(
    make_guardian: MakeGuardian, tmp_path: Path
) -> None:
    guardian = make_guardian(60)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        guardian.start()
        guardian.stop()
    assert not (tmp_path / "killed").exists()


def test_it_ends_all_when_none_comes(make_guardian: MakeGuardian, tmp_path: Path) -> None:
    began = time.monotonic()
    guardian = make_guardian(1)
    guardian.start()
    guardian.stop()
    assert time.monotonic() - began >= 1
    assert (tmp_path / "killed").exists()


def test_one_that_died_is_started_again_as_soon_as_it_can_be(
    make_guardian: MakeGuardian, monkeypatch: pytest.MonkeyPatch
) -> None:
    guardian = make_guardian(60)
    guardian.start()
    first = guardian.pid
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert not guardian.reaped(first + 1)
    assert guardian.reaped(first)
    before = os.listdir("/proc/self/fd")

    def no_memory() -> int:
        raise BlockingIOError(errno.EAGAIN, "no process")

    with monkeypatch.context() as short:
        short.setattr(os, "fork", no_memory)
        guardian.start_if_due(1000.0)
    assert guardian.pid == 0
    assert len(os.listdir("/proc/self/fd")) == len(before), "nothing is left of the attempt"
    guardian.start_if_due(1000.5)
    assert guardian.pid == 0, "not over and over"
    guardian.start_if_due(1001.0)
    assert guardian.pid not in (0, first)
    second = guardian.pid
    guardian.start_if_due(2000.0)
    assert guardian.pid == second
    os.kill(second, signal.SIGKILL)
    guardian.stop()


def test_a_supervisor_that_comes_late_is_seen(make_guardian: MakeGuardian, tmp_path: Path) -> None:
    guardian = make_guardian(60)
    guardian.start()
    os.close(guardian._pipe)  # the supervisor's end
    guardian._pipe = -1
    with (tmp_path / "lock").open("w") as lock:
        wait_for(lambda: _try(lock.fileno()), "the lock is free for a moment")
        os.waitpid(guardian.pid, 0)
    assert not (tmp_path / "killed").exists()


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
