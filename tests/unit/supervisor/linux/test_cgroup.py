"""Control groups on this machine's own hierarchies, with real processes and a real fork bomb."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import prctl
import pytest

from chromepool.model import Limits
from chromepool.supervisor.linux.cgroup import tree as cgroup
from chromepool.supervisor.linux.cgroup import v1 as cgroup_v1
from chromepool.supervisor.linux.cgroup import v2 as cgroup_v2
from chromepool.supervisor.linux.cgroup.none import UncappedTree
from chromepool.supervisor.linux.cgroup.tree import Leaf, Tree
from chromepool.supervisor.linux.reaper import reap
from chromepool.supervisor.linux.spawn import Plan, spawn
from testing.daemon import wait_for

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make control groups"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
MIB = 1 << 20
POOL = 256 * MIB
LIMITS = Limits(64 * MIB, MIB, 30, 0.5, 1000, MIB)
UID = 61240
MOST = 300
"""RLIMIT_NPROC of the bombs' uid: what holds them where no control group does."""
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
SHELL_BOMB = "exec perl -e 'fork while 1'"
"""It goes on where fork fails; a shell would give up, and the group might be seen too late."""
CHURN = "(while :; do /bin/true & /bin/true; done) & while :; do /bin/true & /bin/true; done"
FAMILY = "sleep 1000 & setsid sleep 1000 & (sleep 1000 &) ; sleep 1000 & exec sleep 1000"
DAEMON = "(setsid sleep 1000 &) ; exec sleep 1000"
"""Only a control group knows whose a process is that has left both its parent and its session."""


def _v1(name: str) -> cgroup_v1.V1Tree:
    mounts, own = (Path(f"/proc/self/{file}").read_text() for file in ("mountinfo", "cgroup"))
    tree = cgroup_v1.V1Tree(cgroup_v1.hierarchies(mounts, own), name, POOL)
    if not tree.parents():
        pytest.skip("no cgroup v1 controller can be written here")
    return tree


def _v2(name: str) -> cgroup_v2.V2Tree:
    point = cgroup_v2.mount_point(Path("/proc/self/mountinfo").read_text())
    if point is None or not os.access(point / "cgroup.procs", os.W_OK):
        pytest.skip("no cgroup2 can be written here")
    try:
        return cgroup_v2.V2Tree(point, name, POOL)
    except OSError as error:
        pytest.skip(f"no group can be made at the top of cgroup2: {error}")


def _clean(tree: Tree) -> None:
    for leaf in tree.leftovers():
        _end(leaf)
    tree.remove()


def _end(leaf: Leaf) -> None:
    """Kills until it is empty, then removes it."""
    deadline = time.monotonic() + 60
    while leaf.pids():
        assert time.monotonic() < deadline, f"still there: {leaf.pids()}"
        leaf.kill()
        reap()
    wait_for(lambda: _removed(leaf), "the group is removed")


def _holds(leaf: Leaf, count: int) -> bool:
    return len(leaf.pids()) == count


def _removed(leaf: Leaf) -> bool:
    with contextlib.suppress(OSError):
        leaf.remove()
        return True
    return False


@pytest.fixture(autouse=True)
def _adopt() -> Iterator[None]:
    """As the daemon does: orphans come to us, and are reaped."""
    prctl.set_child_subreaper(1)
    yield
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    prctl.set_child_subreaper(0)


@pytest.fixture
def name() -> str:
    return f"chromepool-test-{secrets.token_hex(4)}"


@pytest.fixture
def v1(name: str) -> Iterator[cgroup_v1.V1Tree]:
    tree = _v1(name)
    try:
        yield tree
    finally:
        _clean(tree)
    assert not [path for path in tree.parents() if path.exists()]


@pytest.fixture
def v2(name: str) -> Iterator[cgroup_v2.V2Tree]:
    tree = _v2(name)
    try:
        yield tree
    finally:
        _clean(tree)
    assert not [path for path in tree.parents() if path.exists()]


@pytest.fixture(params=["v1", "v2", "none"])
def tree(request: pytest.FixtureRequest) -> Tree:
    """Each kind of tree that there is."""
    if request.param == "none":
        return UncappedTree()
    found: Tree = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def leaf(tree: Tree) -> Iterator[Leaf]:
    made = tree.create("s1", LIMITS)
    yield made
    _end(made)


def _start(leaf: Leaf, *argv: str, uid: int | None = None) -> int:
    rlimits = [] if uid is None else [(resource.RLIMIT_NPROC, MOST)]
    env = {"PATH": "/usr/bin:/bin"}
    null = os.open(os.devnull, os.O_RDWR)
    try:
        plan = Plan(argv, env, {0: null, 1: null, 2: null}, uid=uid, rlimits=rlimits)
        return spawn(plan, leaf.add)
    finally:
        os.close(null)


def _shell(leaf: Leaf, script: str, uid: int | None = None) -> int:
    return _start(leaf, "/bin/sh", "-c", script, uid=uid)


def _read(tree: Tree, file: str, *leaf: str) -> str:
    """A control file, from whichever of the tree's hierarchies has it."""
    for parent in tree.parents():
        path = parent.joinpath(*leaf, file)
        if path.exists():
            return path.read_text().strip()
    raise AssertionError(f"no {file} below {tree.parents()}")


# -- any kind of tree --


def test_a_leafs_life(leaf: Leaf) -> None:
    assert leaf.pids() == []
    leaf.kill()  # nobody there: nothing happens
    pid = _start(leaf, "/bin/sleep", "1000")
    assert leaf.pids() == [pid]
    usage = leaf.usage()
    assert usage.processes == 1
    assert usage.cpu_s is None or usage.cpu_s >= 0
    leaf.kill()
    wait_for(lambda: (pid, signal.SIGKILL) in reap(), "it is dead, and dead by SIGKILL")
    wait_for(lambda: not leaf.pids(), "the group is empty")


def test_all_of_a_family_is_seen_and_killed(leaf: Leaf) -> None:
    """Children, orphans, and those that have left the session."""
    _shell(leaf, FAMILY)
    wait_for(lambda: len(leaf.pids()) == 5, "the family is complete")
    stranger = os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "1000"])
    leaf.kill()
    wait_for(lambda: not leaf.pids(), "all of it is dead")
    assert stranger not in [pid for pid, _ in reap()]
    os.kill(stranger, signal.SIGKILL)


def test_a_daemon_of_a_sessions_does_not_get_away(v1: cgroup_v1.V1Tree, v2: Tree) -> None:
    for leaf in (v1.create("s1", LIMITS), v2.create("s1", LIMITS)):
        _shell(leaf, DAEMON)
        wait_for(functools.partial(_holds, leaf, 2), "both run")
        _end(leaf)


def test_a_group_that_forks_all_the_time_ends(leaf: Leaf) -> None:
    _shell(leaf, CHURN, uid=UID)
    wait_for(lambda: len(leaf.pids()) > 2, "it churns")
    _end(leaf)


def test_a_stopped_family_can_be_killed(leaf: Leaf) -> None:
    _shell(leaf, FAMILY)
    wait_for(lambda: len(leaf.pids()) == 5, "the family is complete")
    for pid in leaf.pids():
        os.kill(pid, signal.SIGSTOP)
    _end(leaf)


def test_the_leader_dies_first(leaf: Leaf) -> None:
    """What it leaves behind is still the session's."""
    leader = _shell(leaf, "sleep 1000 & sleep 1000 & exec sleep 1000")
    wait_for(lambda: len(leaf.pids()) == 3, "all three run")
    os.kill(leader, signal.SIGKILL)
    wait_for(reap, "the leader is reaped")
    assert len(leaf.pids()) == 2
    _end(leaf)


def test_add_says_when_there_is_no_such_process(v1: Tree, v2: Tree) -> None:
    for kind in (v1, v2):
        with pytest.raises(OSError, match="No such process"):
            kind.create("s1", LIMITS).add(2**22 - 3)


# -- trees with groups --


def test_a_leaf_in_use_is_not_removed(v1: Tree, v2: Tree) -> None:
    for kind in (v1, v2):
        leaf = kind.create("s1", LIMITS)
        _start(leaf, "/bin/sleep", "1000")
        with pytest.raises(OSError, match="busy"):
            leaf.remove()
        assert len(leaf.pids()) == 1
        _end(leaf)
        leaf.remove()  # twice is once
        assert kind.leftovers() == []


def test_leftovers_are_found_by_the_next_life(name: str) -> None:
    for make in (_v1, _v2):
        first = make(name)
        pids = [_start(first.create(f"s{n}", LIMITS), "/bin/sleep", "1000") for n in range(3)]
        second: Tree = make(name)
        try:
            leaves = second.leftovers()
            assert sorted(pid for leaf in leaves for pid in leaf.pids()) == sorted(pids)
            with pytest.raises(OSError, match="busy"):
                second.remove()
        finally:
            _clean(second)
        assert [path for path in second.parents() if path.exists()] == []
        second.remove()  # twice is once


def test_groups_below_a_leaf_go_with_it(v1: Tree, v2: Tree) -> None:
    for kind in (v1, v2):
        leaf = kind.create("s1", LIMITS)
        for parent in kind.parents():
            (parent / "s1" / "a" / "b").mkdir(parents=True)
        leaf.remove()
        assert not [parent for parent in kind.parents() if (parent / "s1").exists()]


# -- v1: the limits --


def test_v1_limits_land_in_the_files(v1: cgroup_v1.V1Tree) -> None:
    assert set(v1.enforced) <= {"memory", "cpu", "pids"}
    v1.create("s1", LIMITS)
    if "memory" in v1.enforced:
        assert _read(v1, "memory.limit_in_bytes") == str(POOL)
        assert _read(v1, "memory.limit_in_bytes", "s1") == str(64 * MIB)
    if "pids" in v1.enforced:
        assert _read(v1, "pids.max", "s1") == "30"
    if "cpu" in v1.enforced:
        period = int(_read(v1, "cpu.cfs_period_us", "s1"))
        assert int(_read(v1, "cpu.cfs_quota_us", "s1")) == period // 2


def test_v1_without_a_cpu_cap(v1: cgroup_v1.V1Tree) -> None:
    v1.create("s1", Limits(64 * MIB, MIB, 30, 0.0, 1000, MIB))
    if "cpu" in v1.enforced:
        assert _read(v1, "cpu.cfs_quota_us", "s1") == "-1"


def test_v1_limits_that_the_kernel_refuses_leave_no_group(v1: cgroup_v1.V1Tree) -> None:
    if "pids" not in v1.enforced:
        pytest.skip("no pids controller")
    with pytest.raises(OSError, match="Invalid argument"):
        v1.create("s1", Limits(64 * MIB, MIB, 2**40, 0.0, 1, 1))
    assert v1.leftovers() == []


def test_v1_a_child_is_in_every_hierarchy(v1: cgroup_v1.V1Tree) -> None:
    leaf = v1.create("s1", LIMITS)
    pid = _shell(leaf, "sleep 1000 & wait")
    wait_for(lambda: len(leaf.pids()) == 2, "its child runs")
    for parent in v1.parents():
        assert len(cgroup.read_pids(parent / "s1")) == 2
        assert pid in cgroup.read_pids(parent / "s1")


def test_v1_a_fork_bomb_meets_the_pids_cap(v1: cgroup_v1.V1Tree) -> None:
    if "pids" not in v1.enforced:
        pytest.skip("no pids controller")
    leaf = v1.create("s1", LIMITS)
    _start(leaf, sys.executable, "-I", "-S", "-c", BOMB)
    wait_for(lambda: (leaf.usage().pids_refused or 0) > 0, "the bomb meets the cap")
    assert len(leaf.pids()) <= LIMITS.pids
    _end(leaf)


def test_v1_memory_beyond_the_cap_is_an_oom_kill(v1: cgroup_v1.V1Tree) -> None:
    if "memory" not in v1.enforced:
        pytest.skip("no memory controller")
    leaf = v1.create("s1", LIMITS)
    assert leaf.usage().oom_kills == 0
    _start(leaf, sys.executable, "-I", "-S", "-c", "x = b'x' * (200 << 20)")
    wait_for(lambda: not leaf.pids(), "it is killed")
    usage = leaf.usage()
    assert usage.oom_kills == 1
    assert usage.memory_peak_bytes is not None
    assert 32 * MIB < usage.memory_peak_bytes <= LIMITS.memory_bytes


def test_v1_usage_counts(v1: cgroup_v1.V1Tree) -> None:
    leaf = v1.create("s1", Limits(64 * MIB, MIB, 30, 0.0, 1, 1))
    _start(leaf, sys.executable, "-I", "-S", "-c", "x = b'x' * (20 << 20)\nwhile True: pass")
    wait_for(lambda: (leaf.usage().memory_bytes or 0) > 20 * MIB, "it has its memory")
    wait_for(lambda: (leaf.usage().cpu_s or 0) > 0.1, "it has burnt a tenth of a second")
    usage = leaf.usage()
    assert usage.memory_bytes is not None
    assert usage.memory_bytes < 64 * MIB
    assert usage.processes == 1
    assert usage.pids_refused == 0


def test_v1_a_pool_that_is_smaller_than_what_an_earlier_life_left(name: str) -> None:
    """The cap cannot be set yet, but the daemon must come up to end those processes."""
    first = _v1(name)
    try:
        if "memory" not in first.enforced:
            pytest.skip("no memory controller")
        leaf = first.create("s1", Limits(128 * MIB, MIB, 30, 0.0, 1, 1))
        _start(leaf, sys.executable, "-I", "-S", "-c", "x = b'x' * (60 << 20)\nwhile True: pass")
        wait_for(lambda: (leaf.usage().memory_bytes or 0) > 60 * MIB, "it has its memory")
        mounts, own = (Path(f"/proc/self/{f}").read_text() for f in ("mountinfo", "cgroup"))
        second = cgroup_v1.V1Tree(cgroup_v1.hierarchies(mounts, own), name, 8 * MIB)
        assert len(second.leftovers()) == 1
        with pytest.raises(OSError, match="busy"):
            second.create("s2", LIMITS)
        _end(second.leftovers()[0])
        second.create("s2", LIMITS)
        assert _read(second, "memory.limit_in_bytes") == str(8 * MIB)
    finally:
        _clean(first)


# -- v2 --


def test_v2_limits_land_in_the_files_that_there_are(v2: cgroup_v2.V2Tree) -> None:
    v2.create("s1", LIMITS)
    (folder,) = v2.parents()
    expected = {"memory.max": str(64 * MIB), "pids.max": "30", "cpu.max": "50000 100000"}
    files = {"memory": "memory.max", "pids": "pids.max", "cpu": "cpu.max"}
    for controller, file in files.items():
        if controller in v2.enforced:
            assert _read(v2, file, "s1") == expected[file]
        else:
            assert not (folder / "s1" / file).exists()


def test_v2_names_are_used_once(v2: cgroup_v2.V2Tree) -> None:
    v2.create("s1", LIMITS)
    with pytest.raises(FileExistsError):
        v2.create("s1", LIMITS)


def test_v2_a_fork_bomb_ends(v2: cgroup_v2.V2Tree) -> None:
    leaf = v2.create("s1", LIMITS)
    _shell(leaf, SHELL_BOMB, uid=UID + 2)  # the uid's RLIMIT_NPROC holds it, not the group
    wait_for(lambda: len(leaf.pids()) > 20, "it has grown")
    _end(leaf)


# -- reading --


def test_control_files_are_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text, number in (("5\n", 5), ("-1\n", -1), ("max\n", None), ("", None), ("1 2", None)):
        path.write_text(text)
        assert cgroup.read_int(path) == number
    path.write_text("oom 1\noom_kill 2\noom_kill_x 3\nbad\nmax max\n")
    assert cgroup.read_key(path, "oom_kill") == 2
    for key in ("kill", "bad", "max", ""):
        assert cgroup.read_key(path, key) is None
    assert cgroup.read_int(tmp_path / "missing") is None
    assert cgroup.read_key(tmp_path / "missing", "a") is None
    assert cgroup.read_pids(tmp_path) == []
    (tmp_path / "cgroup.procs").write_text("0\n12\n0\n7\n")
    assert cgroup.read_pids(tmp_path) == [12, 7]
    cgroup.write_if_there(tmp_path / "missing", 1)
    assert not (tmp_path / "missing").exists()
