"""Control groups of version 1: what the texts of ``/proc`` say."""

from __future__ import annotations

from pathlib import Path

from chromepool.supervisor.linux.cgroup import v1 as cgroup_v1
from chromepool.supervisor.linux.cgroup import v2 as cgroup_v2

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
