"""Children as they are spawned: real processes, seen through ``/proc``."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chromepool.errors import StartFailed
from chromepool.model import Limits
from chromepool.supervisor.linux import rlimits as limits
from chromepool.supervisor.linux.namespaces import PrivateMounts
from chromepool.supervisor.linux.reaper import reap, split_status
from chromepool.supervisor.linux.spawn import Plan, spawn
from testing import uids
from testing.daemon import wait_for
from testing.spawning import admit, running, sleeper, status_of

# Python 3.12 warns of fork in a process with threads; those of a parallel run have some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change uid and mounts")
MIB = 1 << 20
LIMITS = Limits(512 * MIB, 100 * MIB, 100, 0.0, 1000, 64 * MIB)
UID = uids.user(0)


def _executable(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    path.chmod(0o755)
    return path


def _output(script: str, **given: Any) -> str:
    """What a shell script says, run to its end."""
    read, write = os.pipe()
    fds = {1: write, 2: write} | given.pop("fds", {})
    try:
        plan = Plan(argv=["/bin/sh", "-c", script], env={}, fds=fds, **given)
        pid = spawn(plan, admit)
    finally:
        os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


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
        spawn(plan, admit)
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
    _fails(sleeper(rlimits=[(999, 1)]), saying="rlimits")
    _fails(sleeper(fds={3: 9999}), saying="descriptors.*Bad file descriptor")
    _fails(sleeper(argv=["/bin/sleep", "1\0"]), saying="exec.*null byte")
    _fails(sleeper(env={"a=b": "c"}), saying="exec")


@root_only
def test_failures_of_roots_stages(tmp_path: Path) -> None:
    mounts = PrivateMounts(UID, MIB, tmp_path / "missing")
    _fails(sleeper(mounts=mounts), saying="private mounts.*No such file")
    _fails(sleeper(uid=2**40), saying="uid")


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
        wait_for(lambda: status_of(pid)["State"].startswith("Z"), "it is dead")

    with pytest.raises(StartFailed):
        spawn(sleeper(), kill)
    assert len(reap()) == 1


def test_admit_sees_the_child_before_it_is_a_program() -> None:
    seen = []

    def look(pid: int) -> None:
        seen.append((pid, os.readlink(f"/proc/{pid}/exe"), status_of(pid)["PPid"]))

    pid = spawn(sleeper(), look)
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
    plan = sleeper(fds={0: null, 1: null, 2: null, 3: read, 4: write})
    with running(plan) as pid:
        mine, its = _fds(os.getpid()), _fds(pid)
        assert its.keys() == {0, 1, 2, 3, 4}
        assert (its[3], its[4]) == (mine[read], mine[write])
        assert os.get_inheritable(stray)
    for fd in (read, write, null, stray):
        os.close(fd)


def test_one_descriptor_in_two_places() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    with running(sleeper(fds={5: null, 9: null})) as pid:
        assert _fds(pid)[5] == _fds(pid)[9] == "/dev/null"
    os.close(null)


def test_signals_are_the_kernels_own_again() -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    handler = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        with running(sleeper()) as pid:
            status = status_of(pid)
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
    with running(sleeper(umask=0o027)) as pid:
        status = status_of(pid)
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert status["Umask"] == "0027"
        assert status["NoNewPrivs"] == "1"
    with running(sleeper(no_new_privs=False)) as pid:
        assert status_of(pid)["Umask"] == "0077"


def test_the_limits_are_in_force() -> None:
    with running(sleeper(rlimits=limits.rlimits(LIMITS, own_uid=True))) as pid:
        for kind, value in limits.rlimits(LIMITS, own_uid=True):
            assert resource.prlimit(pid, kind) == (value, value)


def test_a_lower_hard_limit_stays() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with running(sleeper(rlimits=[(resource.RLIMIT_NOFILE, 2**62)])) as pid:
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)


@root_only
def test_the_uid_is_given_up_for_good() -> None:
    with running(sleeper(uid=UID)) as pid:
        status = status_of(pid)
    assert status["Uid"].split() == status["Gid"].split() == [str(UID)] * 4
    assert status["Groups"] == ""
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0


def test_the_environment_is_the_plans() -> None:
    env = {"A": "1", "EMPTY": "", "UTF": "ä"}
    read, write = os.pipe()
    pid = spawn(Plan(["/usr/bin/env"], env, {1: write}), admit)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert set(pipe.read().decode().splitlines()) == {f"{k}={v}" for k, v in env.items()}
    os.waitpid(pid, 0)


def test_broken_pipes_kill_as_they_should() -> None:
    """Python ignores SIGPIPE; a child that inherited that would write into nothing for ever."""
    read, write = os.pipe()
    os.close(read)
    pid = spawn(Plan(["/bin/sh", "-c", "while :; do echo x; done"], {}, {1: write}), admit)
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
from testing.daemon import wait_for
from testing.spawning import status_of
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
wait_for(lambda: status_of(pid)["State"].startswith("S"), "its loader has closed all libraries")
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
