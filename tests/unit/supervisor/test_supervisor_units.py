"""The supervisor's parts one by one, with real processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromepool.config import Settings
from chromepool.errors import HostError, StartFailed
from chromepool.model import ChromeOptions, Limits
from chromepool.supervisor import host
from chromepool.supervisor.chrome import command_line as chrome
from chromepool.supervisor.chrome.launcher import check_limits
from chromepool.supervisor.linux import rlimits as limits
from chromepool.supervisor.linux.cgroup import v1 as cgroup_v1
from chromepool.supervisor.linux.cgroup import v2 as cgroup_v2
from chromepool.supervisor.linux.namespaces import PrivateMounts
from chromepool.supervisor.linux.reaper import reap, split_status
from chromepool.supervisor.linux.spawn import Plan, spawn
from chromepool.supervisor.linux.uids import Uids
from testing import uids
from testing.daemon import wait_for

# Python 3.12 warns of fork in a process with threads; pytest's timeout is one.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change uid and mounts")
MIB = 1 << 20
LIMITS = Limits(512 * MIB, 100 * MIB, 100, 0.0, 1000, 64 * MIB)
UID = uids.user(0)


# -- uids --


def test_uids_go_round() -> None:
    uids = Uids(100, 3)
    assert [uids.take() for _ in range(3)] == [100, 101, 102]
    uids.free(100)
    uids.free(102)
    assert [uids.take(), uids.take()] == [100, 102]
    with pytest.raises(StartFailed, match="All 3 uids") as caught:
        uids.take()
    assert caught.value.remedy


def test_a_freed_uid_rests_as_long_as_possible() -> None:
    uids = Uids(100, 4)
    for expected in [100, 101, 102, 103, 100, 101, 102, 103]:
        taken = uids.take()
        assert taken == expected
        uids.free(taken)


def test_uids_that_were_not_taken_are_freed_without_harm() -> None:
    uids = Uids(100, 1)
    uids.free(100)
    uids.free(5)
    uids.free(5)
    assert uids.take() == 100
    with pytest.raises(StartFailed):
        uids.take()


# -- control groups: what the texts of /proc say --

HYBRID_MOUNTS = """\
23 28 0:21 / /proc rw,nosuid shared:5 - proc proc rw
31 23 0:28 / /sys/fs/cgroup ro,relatime - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 master:2 - cgroup2 cgroup2 rw
"""
HYBRID_OWN = """\
9:name=systemd:/user.slice/session-1.scope
8:pids:/user.slice/user-0.slice
5:memory:/user.slice
4:freezer:/
3:cpuset:/
1:cpu,cpuacct:/user.slice/a:b
0::/user.slice/session-1.scope
"""


def test_hybrid() -> None:
    group = Path("/sys/fs/cgroup")
    assert cgroup_v1.hierarchies(HYBRID_MOUNTS, HYBRID_OWN) == {
        "cpu": group / "cpu,cpuacct/user.slice/a:b",
        "cpuacct": group / "cpu,cpuacct/user.slice/a:b",
        "memory": group / "memory/user.slice",
        "freezer": group / "freezer",
        "pids": group / "pids/user.slice/user-0.slice",
    }
    point = cgroup_v2.mount_point(HYBRID_MOUNTS)
    assert point == group / "unified"
    assert cgroup_v2.own_group(point, HYBRID_OWN) == point / "user.slice/session-1.scope"


def test_pure_v2() -> None:
    mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    own = "0::/system.slice/chromepool.service\n"
    assert cgroup_v1.hierarchies(mounts, own) == {}
    point = cgroup_v2.mount_point(mounts)
    assert point == Path("/sys/fs/cgroup")
    assert cgroup_v2.own_group(point, own) == point / "system.slice/chromepool.service"
    assert cgroup_v2.own_group(point, "0::/\n") == point
    assert cgroup_v2.own_group(point, "") == point


def test_none_mounted() -> None:
    mounts = "23 28 0:21 / /proc rw,nosuid - proc proc rw\n24 28 0:3 / /x rw - tmpfs  rw\n"
    assert cgroup_v1.hierarchies(mounts, HYBRID_OWN) == {}
    assert cgroup_v2.mount_point(mounts) is None
    assert cgroup_v1.hierarchies("", "") == {}
    assert cgroup_v2.mount_point("") is None


def test_a_container_sees_a_part_of_the_hierarchy() -> None:
    mounts = """\
50 49 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
51 49 0:33 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
52 49 0:34 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu
53 49 0:35 /docker/abc /sys/fs/cgroup/freezer ro - cgroup cgroup rw,freezer
"""
    own = "4:memory:/docker/abc\n3:pids:/docker/abc/inner\n2:cpu:/docker/abcdef\n1:freezer:/\n"
    group = Path("/sys/fs/cgroup")
    assert cgroup_v1.hierarchies(mounts, own) == {
        "memory": group / "memory",
        "pids": group / "pids/inner",
        "cpu": group / "cpu",  # another's group is not in sight: what is mounted is all there is
        "freezer": group / "freezer",
    }


V1_CONTAINER = "/libpod_parent/libpod-7f84797eafbd"
V1_CONTAINER_MOUNTS = f"""\
86 78 0:46 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
90 86 0:32 {V1_CONTAINER} /sys/fs/cgroup/memory ro,nosuid,nodev - cgroup cgroup rw,memory
94 86 0:36 {V1_CONTAINER} /sys/fs/cgroup/pids ro,nosuid,nodev - cgroup cgroup rw,pids
"""
V2_CONTAINER_MOUNTS = (
    "671 665 0:27 {} /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate"
)


def test_memory_is_bound_by_a_containers_own_group_v1() -> None:
    own = f"8:pids:{V1_CONTAINER}\n4:memory:{V1_CONTAINER}\n0::{V1_CONTAINER}\n"
    assert host.memory_bound(V1_CONTAINER_MOUNTS, own) == Path("/sys/fs/cgroup/memory")


def test_memory_is_bound_by_a_containers_own_group_v2() -> None:
    mounts = V2_CONTAINER_MOUNTS.format("/")
    assert host.memory_bound(mounts, "0::/\n") == Path("/sys/fs/cgroup")


@pytest.mark.parametrize("own", ["/docker/no-such-group", "/../no-such-group", "/docker/abc"])
def test_without_a_namespace_what_is_mounted_is_the_group(own: str) -> None:
    """Somebody has bound the container's part of the hierarchy there."""
    mounts = V2_CONTAINER_MOUNTS.format("/docker/abc")
    assert host.memory_bound(mounts, f"0::{own}\n") == Path("/sys/fs/cgroup")


def test_no_groups_bind_nothing() -> None:
    assert host.memory_bound("", "") is None
    assert host.memory_bound("1 0 0:1 / /proc rw - proc proc rw\n", "0::/\n") is None


def test_controllers_are_not_found_in_other_words() -> None:
    mounts = """\
50 49 0:32 / /a rw - cgroup cgroup rw,name=memory
51 49 0:33 / /b rw - cgroup cgroup rw,memoryx
52 49 0:34 / /c rw,memory - tmpfs memory rw,memory
53 49 0:35 / /d rw - cgroup2 cgroup2 rw,memory
"""
    assert cgroup_v1.hierarchies(mounts, "4:memory:/\n") == {}


# -- Chrome: which, how, and with what around it --


def _executable(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    path.chmod(0o755)
    return path


def test_a_program_is_taken_by_its_real_path(tmp_path: Path) -> None:
    program = _executable(tmp_path / "chrome", b"\x7fELF")
    link = tmp_path / "link"
    link.symlink_to(program)
    assert chrome.find(str(program)) == chrome.find(str(link)) == str(program)


def test_a_script_of_the_operators_own_is_taken_as_it_is(tmp_path: Path) -> None:
    script = _executable(tmp_path / "chromium", b'#!/bin/sh\nexec /opt/chrome "$@"\n')
    link = tmp_path / "google-chrome"
    link.symlink_to(script)
    assert chrome.find(str(script)) == chrome.find(str(link)) == str(script)


def test_debians_wrappers_give_way_to_what_they_start() -> None:
    behind = Path("/usr/lib/chromium")
    names = [path.name for path in behind.glob("*") if (Path("/usr/bin") / path.name).exists()]
    if not names:
        pytest.skip("no wrapper of Debian's is installed")
    for name in names:
        assert chrome.find(f"/usr/bin/{name}") == str(behind / name)


def test_what_is_no_program_is_not_found(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"\x7fELF")
    for path in (plain, tmp_path, tmp_path / "missing", Path("no-such-chrome")):
        with pytest.raises(HostError, match="There is no Chrome") as caught:
            chrome.find(str(path))
        assert str(path) in caught.value.detail
        assert caught.value.remedy


def test_the_command_line() -> None:
    argv = chrome.command_line(
        "/x/chrome",
        Path("/p"),
        LIMITS,
        ChromeOptions(),
        sandbox=True,
        shm_bytes=1 << 30,
        protocol_port=False,
    )
    assert argv[0] == "/x/chrome"
    assert argv[-1] == "about:blank"
    assert "--remote-debugging-pipe" in argv
    assert "--user-data-dir=/p" in argv
    assert "--js-flags=--max-old-space-size=100" in argv
    assert "--headless=new" in argv
    assert len(argv) == len(set(argv))
    for absent in ("--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port"):
        assert not [flag for flag in argv if flag.startswith(absent)]


def _argv(**given: Any) -> list[str]:
    usual: dict[str, Any] = {"launch": ChromeOptions(), "sandbox": True, "shm_bytes": 1 << 30}
    return chrome.command_line("/x/headless_shell", Path("/p"), LIMITS, **(usual | given))


def test_what_the_command_line_depends_on() -> None:
    usual = set(_argv())
    assert "--headless=new" not in usual
    assert set(_argv(sandbox=False)) - usual == {"--no-sandbox"}
    assert set(_argv(shm_bytes=64 * MIB)) - usual == {"--disable-dev-shm-usage"}
    assert set(_argv(shm_bytes=0)) - usual == {"--disable-dev-shm-usage"}
    assert set(_argv(protocol_port=True)) - usual == {"--remote-debugging-port=0"}
    for forbidden in ("--no-sandbox", "--disable-web-security", "--disable-setuid-sandbox"):
        assert forbidden not in usual


def test_the_heap_is_in_mebibytes_and_never_zero() -> None:
    for heap, flag in ((100_000_000, 95), (0, 1), (1, 1), (MIB, 1), (3 * MIB - 1, 2)):
        few = Limits(1, heap, 1, 0.0, 1, 1)
        argv = chrome.command_line(
            "/c", Path("/p"), few, ChromeOptions(), sandbox=True, shm_bytes=0
        )
        assert f"--js-flags=--max-old-space-size={flag}" in argv


def test_nothing_of_the_daemons_environment_reaches_chrome() -> None:
    ours = {
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/bus",
        "CHROMEPOOL_TOKEN": "secret",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "LD_PRELOAD": "/evil.so",
        "HOME": "/root",
        "PATH": "/root/bin",
        "TZ": "Europe/Berlin",
        "LANG": "de_DE.UTF-8",
    }
    given = chrome.environment(Path("/p"), "s1", ours)
    assert given["HOME"] == given["XDG_CONFIG_HOME"] == given["XDG_CACHE_HOME"] == "/p"
    assert (given["TZ"], given["LANG"]) == ("Europe/Berlin", "de_DE.UTF-8")
    assert set(given) <= {
        *(
            "PATH",
            "HOME",
            "CHROMEPOOL_NAME",
            "TMPDIR",
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
            "LANG",
            "TZ",
            "LC_ALL",
        )
    }
    assert "/root/bin" not in given.values()
    assert chrome.environment(Path("/p"), "s1", {})["LANG"] == "C.UTF-8"


def test_rlimits() -> None:
    pairs = dict(limits.rlimits(LIMITS, own_uid=True))
    assert pairs[resource.RLIMIT_NOFILE] == 1000
    assert pairs[resource.RLIMIT_CORE] == 0
    assert pairs[resource.RLIMIT_FSIZE] == 64 * MIB
    assert pairs[resource.RLIMIT_NPROC] >= LIMITS.pids
    assert resource.RLIMIT_AS not in pairs
    assert resource.RLIMIT_NPROC not in dict(limits.rlimits(LIMITS, own_uid=False))


# -- dead children --


def test_a_hundred_deaths_at_once() -> None:
    pids = {}
    for number in range(100):
        pid = os.fork()
        if pid == 0:
            if number % 2:
                os._exit(number)
            os.kill(os.getpid(), signal.SIGKILL)
        pids[pid] = number
    dead: dict[int, int] = {}
    wait_for(lambda: dead.update(reap()) or len(dead) == 100, "all are reaped")
    for pid, number in pids.items():
        expected = (number, None) if number % 2 else (None, "SIGKILL")
        assert split_status(dead[pid]) == expected
    assert reap() == []


def test_only_the_dead_are_reaped() -> None:
    with _running(_sleep()) as pid:
        assert reap() == []
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: _status(pid)["State"].startswith("T"), "it is stopped")
        assert reap() == []
        os.kill(pid, signal.SIGCONT)


def test_statuses() -> None:
    assert split_status(0) == (0, None)
    assert split_status(3 << 8) == (3, None)
    assert split_status(255 << 8) == (255, None)
    assert split_status(signal.SIGSEGV | 0x80) == (None, "SIGSEGV")  # with a core
    assert split_status(signal.SIGTRAP) == (None, "SIGTRAP")
    assert split_status(40) == (None, "signal 40")


# -- spawn --


def _nothing(pid: int) -> None:
    """Admits everybody."""


def _sleep(**given: Any) -> Plan:
    usual: dict[str, Any] = {"argv": ["/bin/sleep", "1000"], "env": {}, "fds": {}}
    return Plan(**(usual | given))


@contextlib.contextmanager
def _running(plan: Plan) -> Iterator[int]:
    pid = spawn(plan, _nothing)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _output(script: str, **given: Any) -> str:
    """What a shell script says, run to its end."""
    read, write = os.pipe()
    fds = {1: write, 2: write} | given.pop("fds", {})
    try:
        plan = Plan(argv=["/bin/sh", "-c", script], env={}, fds=fds, **given)
        pid = spawn(plan, _nothing)
    finally:
        os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def _fds(pid: int) -> dict[int, str]:
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # what the folder itself was read through
            found[int(entry.name)] = os.readlink(entry)
    return found


def _fails(plan: Plan, *, saying: str) -> StartFailed:
    """That it raises, and that there is nothing but a dead child then."""
    before = _fds(os.getpid())
    with pytest.raises(StartFailed, match=saying) as caught:
        spawn(plan, _nothing)
    after = _fds(os.getpid())
    assert after.keys() == before.keys()
    wait_for(lambda: len(reap()) == 1, "the child that failed is reaped")
    return caught.value


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    error = _fails(Plan([missing], {}, {}), saying="exec.*No such file")
    assert missing in error.detail


def test_programs_that_do_not_run(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    for path, why in (
        (plain, "Permission denied"),
        (tmp_path, "Permission denied"),
        (_executable(tmp_path / "noise", b"\0\1\2"), "Exec format error"),
        (_executable(tmp_path / "script", b"#!/no/such/shell\n"), "No such file"),
    ):
        _fails(Plan([str(path)], {}, {}), saying=f"exec.*{why}")


def test_every_failure_before_exec_names_its_stage(tmp_path: Path) -> None:
    _fails(_sleep(rlimits=[(999, 1)]), saying="rlimits")
    _fails(_sleep(fds={3: 9999}), saying="descriptors.*Bad file descriptor")
    _fails(_sleep(argv=["/bin/sleep", "1\0"]), saying="exec.*null byte")
    _fails(_sleep(env={"a=b": "c"}), saying="exec")


@root_only
def test_failures_of_roots_stages(tmp_path: Path) -> None:
    mounts = PrivateMounts(UID, MIB, tmp_path / "missing")
    _fails(_sleep(mounts=mounts), saying="private mounts.*No such file")
    _fails(_sleep(uid=2**40), saying="uid")


def test_a_child_that_is_not_admitted_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    plan = Plan(["/bin/sh", "-c", f": > {marker}"], {}, {})

    def refuse(pid: int) -> None:
        raise OSError(28, "No space left")

    with pytest.raises(StartFailed, match=r"could not be placed.*No space left"):
        spawn(plan, refuse)
    wait_for(lambda: len(reap()) == 1, "the child is reaped")

    def fail(pid: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        spawn(plan, fail)
    wait_for(lambda: len(reap()) == 1, "the child is reaped")
    assert not marker.exists()


def test_a_child_killed_at_the_gate_is_a_failed_start() -> None:
    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: _status(pid)["State"].startswith("Z"), "it is dead")

    with pytest.raises(StartFailed):
        spawn(_sleep(), kill)
    assert len(reap()) == 1


def test_admit_sees_the_child_before_it_is_a_program() -> None:
    seen = []

    def look(pid: int) -> None:
        seen.append((pid, os.readlink(f"/proc/{pid}/exe"), _status(pid)["PPid"]))

    pid = spawn(_sleep(), look)
    exe = os.readlink("/proc/self/exe")
    assert seen == [(pid, exe, str(os.getpid()))]
    assert os.readlink(f"/proc/{pid}/exe") != exe  # spawn returns after exec
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_child_has_the_plans_descriptors_and_no_other() -> None:
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    stray = os.dup(read)
    os.set_inheritable(stray, True)  # as what the daemon was itself started with
    plan = _sleep(fds={0: null, 1: null, 2: null, 3: read, 4: write})
    with _running(plan) as pid:
        mine, its = _fds(os.getpid()), _fds(pid)
        assert its.keys() == {0, 1, 2, 3, 4}
        assert (its[3], its[4]) == (mine[read], mine[write])
        assert os.get_inheritable(stray)
    for fd in (read, write, null, stray):
        os.close(fd)


def test_one_descriptor_in_two_places() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    with _running(_sleep(fds={5: null, 9: null})) as pid:
        assert _fds(pid)[5] == _fds(pid)[9] == "/dev/null"
    os.close(null)


def test_signals_are_the_kernels_own_again() -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    handler = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        with _running(_sleep()) as pid:
            status = _status(pid)
            ours = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        signal.signal(signal.SIGUSR2, handler)
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigCgt"], 16) == 0
    ignored = int(status["SigIgn"], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD):
        assert not ignored >> (number - 1) & 1
    assert ours >= {signal.SIGTERM, signal.SIGUSR1}  # the parent's mask is as it was


def test_session_umask_and_privileges() -> None:
    with _running(_sleep(umask=0o027)) as pid:
        status = _status(pid)
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert status["Umask"] == "0027"
        assert status["NoNewPrivs"] == "1"
    with _running(_sleep(no_new_privs=False)) as pid:
        assert _status(pid)["Umask"] == "0077"


def test_the_limits_are_in_force() -> None:
    with _running(_sleep(rlimits=limits.rlimits(LIMITS, own_uid=True))) as pid:
        for kind, value in limits.rlimits(LIMITS, own_uid=True):
            assert resource.prlimit(pid, kind) == (value, value)


def test_a_lower_hard_limit_stays() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with _running(_sleep(rlimits=[(resource.RLIMIT_NOFILE, 2**62)])) as pid:
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)


@root_only
def test_the_uid_is_given_up_for_good() -> None:
    with _running(_sleep(uid=UID)) as pid:
        status = _status(pid)
    assert status["Uid"].split() == status["Gid"].split() == [str(UID)] * 4
    assert status["Groups"] == ""
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0


def test_the_environment_is_the_plans() -> None:
    env = {"A": "1", "EMPTY": "", "UTF": "ä"}
    read, write = os.pipe()
    pid = spawn(Plan(["/usr/bin/env"], env, {1: write}), _nothing)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert set(pipe.read().decode().splitlines()) == {f"{k}={v}" for k, v in env.items()}
    os.waitpid(pid, 0)


def test_broken_pipes_kill_as_they_should() -> None:
    """Python ignores SIGPIPE; a child that inherited that would write into nothing for ever."""
    read, write = os.pipe()
    os.close(read)
    pid = spawn(Plan(["/bin/sh", "-c", "while :; do echo x; done"], {}, {1: write}), _nothing)
    os.close(write)
    assert split_status(os.waitpid(pid, 0)[1]) == (None, "SIGPIPE")


def test_many_in_a_row_leave_nothing() -> None:
    before = _fds(os.getpid()).keys()
    for _ in range(50):
        assert _output("echo $$").strip().isdigit()
    assert _fds(os.getpid()).keys() == before
    assert reap() == []


# -- in a process of their own: what would disturb pytest's --

PRELUDE = """
import contextlib, os, resource, signal, sys
from chromepool.errors import StartFailed
from chromepool.supervisor.linux.spawn import Plan, spawn
sleep = lambda **more: Plan(**({"argv": ["/bin/sleep", "1000"], "env": {}, "fds": {}} | more))
nothing = lambda pid: None
"""


def _python(code: str) -> str:
    argv = [sys.executable, "-c", PRELUDE + code]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_sources_that_are_3_and_4_the_wrong_way_round() -> None:
    out = _python("""
a, b = os.pipe()
c, d = os.pipe()
for fd in (a, b, c, d):
    os.dup2(fd, fd + 20)
first, second = a + 20, d + 20
os.dup2(first, 4); os.dup2(second, 3)
want = os.readlink("/proc/self/fd/4"), os.readlink("/proc/self/fd/3")
pid = spawn(sleep(fds={3: 4, 4: 3}), nothing)
print(want == tuple(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (3, 4)))
print(sorted(map(int, os.listdir(f"/proc/{pid}/fd"))))
os.kill(pid, signal.SIGKILL)
""")
    assert out.splitlines() == ["True", "[0, 1, 2, 3, 4]"]


def test_a_failed_exec_is_heard_although_its_pipe_was_3_or_4() -> None:
    """Where the low numbers are free, the pipes of spawn itself get them."""
    for first in (3, 4, 5):
        out = _python(f"""
os.closerange(3, 100)
fillers = [os.open(os.devnull, os.O_RDWR) for _ in range({first} - 3)]
source = os.dup2(0, 200)
try:
    spawn(sleep(argv=["/no/such/program"], fds=dict.fromkeys(range(3, 9), 200)), nothing)
except StartFailed as error:
    print("StartFailed", "exec" in error.detail)
""")
        assert out == "StartFailed True\n"


def test_no_descriptors_left_is_a_failed_start() -> None:
    out = _python("""
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
held = []
with contextlib.suppress(OSError):
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
for spare in range(5):
    before = len(os.listdir("/proc/self/fd")) if spare else 0
    try:
        os.kill(spawn(sleep(), nothing), signal.SIGKILL)
        print("started")
    except StartFailed:
        print("StartFailed")
    assert not before or len(os.listdir("/proc/self/fd")) == before
    os.close(held.pop())
""")
    assert set(out.split()) <= {"StartFailed", "started"}
    assert out.split()[0] == "StartFailed"


@root_only
def test_no_process_left_is_a_failed_start() -> None:
    out = _python(f"""
os.setresuid({UID + 1}, {UID + 1}, {UID + 1})
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
before = os.listdir("/proc/self/fd")
try:
    spawn(sleep(), nothing)
except StartFailed as error:
    print("StartFailed", "fork" in error.detail, os.listdir("/proc/self/fd") == before)
""")
    assert out == "StartFailed True True\n"


def test_the_child_dies_with_its_parent() -> None:
    argv = [sys.executable, "-c", PRELUDE + "print(spawn(sleep(), nothing), flush=True)\ninput()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([child], [], [], 30)[0], "the child outlived its parent"
    finally:
        os.close(child)


def test_limits_beyond_the_settings_are_refused() -> None:
    settings = Settings(session_limits=Limits(cpu_cores=2.0))
    most = settings.session_limits
    check_limits(most, settings)
    for name, value in dataclasses.asdict(most).items():
        for beyond in (value + 1, -1):
            with pytest.raises(StartFailed, match=name):
                check_limits(dataclasses.replace(most, **{name: beyond}), settings)
    endless = dataclasses.replace(most, cpu_cores=1000.0)
    check_limits(endless, Settings())
