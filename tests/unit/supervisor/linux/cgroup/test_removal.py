"""Groups that are left: all are killed first, and what does not end holds up nothing else."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any, cast

import pytest

from chromepool.supervisor.linux.cgroup.removal import Group, groups_in, kill_and_remove
from chromepool.supervisor.linux.cgroup.tree import Leaf


class _Leaf:
    """A group whose processes need so many kills to end, and which then is busy for a while."""

    def __init__(self, said: list[str], name: str, *, kills: int = 1, busy: int = 0) -> None:
        self._said = said
        self._name = name
        self._kills = kills
        self._busy = busy

    def kill(self) -> None:
        self._kills -= 1
        self._said.append(f"kill {self._name}")

    def pids(self) -> list[int]:
        return [7] if self._kills > 0 else []

    def remove(self) -> None:
        self._busy -= 1
        if self._busy >= 0:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self._said.append(f"remove {self._name}")


def _leaves(*leaves: _Leaf) -> list[Leaf]:
    return [cast(Leaf, leaf) for leaf in leaves]


def test_all_are_killed_before_any_is_waited_for() -> None:
    said: list[str] = []
    slow, quick = _Leaf(said, "slow", kills=3), _Leaf(said, "quick")
    kill_and_remove(_leaves(slow, quick), time.monotonic() + 60)
    assert said[:3] == ["kill slow", "kill quick", "remove quick"]
    assert said.count("kill quick") == 1
    assert said[-1] == "remove slow"


def test_a_group_that_is_busy_is_removed_later() -> None:
    said: list[str] = []
    kill_and_remove(_leaves(_Leaf(said, "busy", busy=3)), time.monotonic() + 60)
    assert said == ["kill busy"] * 4 + ["remove busy"]


def test_what_is_left_at_the_deadline_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    stuck = _Leaf(said, "stuck", kills=10**9)
    kill_and_remove(_leaves(stuck, _Leaf(said, "other")), time.monotonic() - 1)
    assert said == ["kill stuck", "kill other", "remove other"]
    (record,) = caplog.records
    assert vars(record)["fields"]["pids"] == [7]


def test_a_recorded_group_of_v1_is_thawed_and_those_in_it_are_found(tmp_path: Path) -> None:
    session = tmp_path / "s1"
    session.mkdir()
    for file in ("freezer.state", "pids.max", "cgroup.procs"):
        (session / file).write_text("")
    found: list[Any] = groups_in(tmp_path)
    assert [group._folder for group in found] == [session, tmp_path]
    Group(session).kill()
    assert (session / "freezer.state").read_text() == "THAWED\n"
    assert (session / "pids.max").read_text() == "0\n"
