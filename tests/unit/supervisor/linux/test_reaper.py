"""Dead children are reaped, and no others."""

from __future__ import annotations

import os
import signal

import pytest

from chromepool.supervisor.linux.reaper import reap, split_status
from testing.daemon import wait_for
from testing.spawning import running, sleeper, status_of

# Python 3.12 warns of fork in a process with threads; those of a parallel run have some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


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
    with running(sleeper()) as pid:
        assert reap() == []
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: status_of(pid)["State"].startswith("T"), "it is stopped")
        assert reap() == []
        os.kill(pid, signal.SIGCONT)


def test_statuses() -> None:
    assert split_status(0) == (0, None)
    assert split_status(3 << 8) == (3, None)
    assert split_status(255 << 8) == (255, None)
    assert split_status(signal.SIGSEGV | 0x80) == (None, "SIGSEGV")  # with a core
    assert split_status(signal.SIGTRAP) == (None, "SIGTRAP")
    assert split_status(40) == (None, "signal 40")
