"""Uids of sessions: in turn, and rested as long as possible."""

from __future__ import annotations

import pytest

from chromepool.errors import StartFailed
from chromepool.supervisor.linux.uids import Uids


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
