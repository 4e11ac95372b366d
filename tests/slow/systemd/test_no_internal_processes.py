"""Why ``chromepool after-stop`` takes the controllers back, shown on a unit of the test's own.

Its daemon is a shell that moves itself to a leaf and starts a session: a process that keeps some
memory in a leaf of the pool's. Both outlive the daemon (``KillMode=process``).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chromepool.supervisor.linux.cgroup import tree as cgroup
from testing.daemon import wait_for
from testing.unit import DEADLINE_S, MIB, lacks, run

pytestmark = pytest.mark.skipif(bool(lacks()), reason=lacks())

_NAME = f"chromepool-test-{os.getpid()}.service"
_FILE = Path("/run/systemd/system") / _NAME
_UNIT = Path("/sys/fs/cgroup/system.slice") / _NAME
_POOL = _UNIT / "chromepool-pool"
_LEAF = _POOL / "s1"
_HOG = "import time; kept = bytearray(b'x' * (20 << 20)); time.sleep(3600)"
_DAEMON = f"""
mkdir -p {_UNIT}/daemon {_LEAF}
echo $$ > {_UNIT}/daemon/cgroup.procs
echo +memory +pids > {_UNIT}/cgroup.subtree_control
echo +memory +pids > {_POOL}/cgroup.subtree_control
echo {64 * MIB} > {_LEAF}/memory.max
if [ -z "$(cat {_LEAF}/cgroup.procs)" ]; then
    (echo $BASHPID > {_LEAF}/cgroup.procs; exec {sys.executable} -c "{_HOG}") &
fi
exec sleep infinity
"""
_AFTER = f"""
from pathlib import Path
from chromepool.supervisor.systemd.after_stop import disable_controllers
disable_controllers(Path("{_POOL}"), Path("{_UNIT}"))
"""


def _told(name: str) -> str:
    return run("systemctl", "show", "--value", "--property", name, _NAME).strip()


def _kept() -> int:
    return cgroup.read_int(_LEAF / "memory.current") or 0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[bool], int]]:
    """Starts the daemon, with what runs after a stop or without; the session's pid."""
    (tmp_path / "daemon").write_text(_DAEMON)
    (tmp_path / "after").write_text(_AFTER)

    def start(after: bool) -> int:
        lines = [
            "[Unit]",
            "StartLimitIntervalSec=0",
            "[Service]",
            f"ExecStart=/bin/bash {tmp_path}/daemon",
            "Delegate=yes",
            "KillMode=process",
            "Restart=on-failure",
            "RestartSec=250ms",
            f"WorkingDirectory={Path.cwd()}",
            f"Environment=PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
        ]
        if after:
            lines.append(f"ExecStopPost={sys.executable} {tmp_path}/after")
        _FILE.write_text("\n".join(lines))
        run("systemctl", "daemon-reload")
        run("systemctl", "start", _NAME)
        wait_for(lambda: _kept() > 20 * MIB, "the session has its memory", DEADLINE_S, 0.1)
        return cgroup.read_pids(_LEAF)[0]

    yield start
    run("systemctl", "stop", _NAME)
    for leaf in (_LEAF, _UNIT / "daemon"):
        cgroup.kill_pids(leaf)
    wait_for(lambda: not cgroup.read_pids(_LEAF), "all are dead", DEADLINE_S, 0.1)
    _FILE.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", _NAME, check=False)


def _kill() -> int:
    pid = int(_told("MainPID"))
    os.kill(pid, signal.SIGKILL)
    return pid


def test_without_it_the_daemon_cannot_be_started(daemon: Callable[[bool], int]) -> None:
    session = daemon(False)
    _kill()
    wait_for(
        lambda: "status=219/CGROUP" in run("journalctl", "-u", _NAME, "--no-pager"),
        "the kernel refuses the new daemon its place",
        DEADLINE_S,
        0.2,
    )
    assert cgroup.read_pids(_LEAF) == [session], "the session lives"


def test_with_it_the_daemon_comes_back_and_what_a_leaf_had_counted_is_lost(
    daemon: Callable[[bool], int],
) -> None:
    session = daemon(True)
    before, unit_before = _kept(), cgroup.read_int(_UNIT / "memory.current") or 0
    killed = _kill()
    wait_for(
        lambda: (
            int(_told("MainPID")) not in (0, killed)
            and cgroup.read(_POOL / "cgroup.subtree_control").split() == ["memory", "pids"]
        ),
        "the next daemon has turned the controllers on",
        DEADLINE_S,
        0.2,
    )
    assert cgroup.read_pids(_LEAF) == [session], "the session lives"
    wait_for(
        lambda: cgroup.read_int(_LEAF / "memory.max") == 64 * MIB, "the cap is back", DEADLINE_S
    )
    assert before > 20 * MIB
    assert _kept() < 10 * MIB, "the leaf does not know of it any more"
    assert (cgroup.read_int(_UNIT / "memory.current") or 0) > min(before, unit_before) // 2
    assert cgroup.read_int(_LEAF / "pids.current") == 1, "processes are counted anew"
