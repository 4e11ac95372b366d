"""Control groups of version 2: what their files say."""

from __future__ import annotations

from pathlib import Path

from chromepool.supervisor.linux.cgroup import v1 as cgroup_v1
from chromepool.supervisor.linux.cgroup.v2 import V2Leaf


def test_pressure_of_a_session_is_its_groups(tmp_path: Path) -> None:
    for number, resource in enumerate(("cpu", "memory", "io"), 1):
        line = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={number}000000\n"
        (tmp_path / f"{resource}.pressure").write_text(line)
    usage = V2Leaf(tmp_path).usage()
    assert (usage.cpu_stall_s, usage.memory_stall_s, usage.io_stall_s) == (1.0, 2.0, 3.0)


def test_controllers_are_not_found_in_other_words() -> None:
    mounts = """\
50 49 0:32 / /a rw - cgroup cgroup rw,name=memory
51 49 0:33 / /b rw - cgroup cgroup rw,memoryx
52 49 0:34 / /c rw,memory - tmpfs memory rw,memory
53 49 0:35 / /d rw - cgroup2 cgroup2 rw,memory
"""
    assert cgroup_v1.hierarchies(mounts, "4:memory:/\n") == {}
