"""What the daemon checks of its machine before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chromepool.supervisor import host

_CHECK = """
import sys
from chromepool.config import Settings
from chromepool.supervisor.host import check_profiles
print(check_profiles(Settings(state_dir=sys.argv[1])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="groups are root's to change")
@pytest.mark.parametrize(("mode", "said"), [(0o711, ""), (0o710, "Permission denied")])
def test_what_only_root_s_group_may_pass_is_seen(folder: Path, mode: int, said: str) -> None:
    """A session has no group but its own, whatever groups the daemon is in."""
    state = folder / "state"
    (state / "profiles").mkdir(parents=True)
    state.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, state],
        extra_groups=[0],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().rpartition(": ")[2] == said, done.stdout


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
