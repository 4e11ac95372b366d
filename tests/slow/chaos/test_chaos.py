"""``make chaos`` in short: every kind of fault once, on a pool that is in use, and the books."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.pool import ChaoticDaemon
from bench.chaos.runner import run_schedule
from bench.chaos.schedule import TOGETHER, Kind, make_schedule

_SEED = int(os.environ.get("CHROMEPOOL_CHAOS_SEED") or 20)
_PLACES = 4
_ROUNDS = -(-len(Kind) // TOGETHER)

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("cc", "mount", "prlimit"))),
    reason="needs root, for control groups and a disk of its own, cc, mount and prlimit",
)


@as_root
@pytest.mark.timeout(600)
def test_the_books_balance_after_every_round() -> None:
    said: list[str] = []
    try:
        reports = run_schedule(
            make_schedule(_SEED, _ROUNDS, _PLACES), _PLACES, health_timeout_s=3.0, say=said.append
        )
    finally:
        print(f"CHROMEPOOL_CHAOS_SEED={_SEED}", *said, sep="\n")
    assert [wrong for report in reports for wrong in report.broken] == []
    assert all(report.answers for report in reports), "the pool was in use"


@as_root
def test_deadlines_do_not_move_when_the_clock_jumps(folder: Path) -> None:
    """The daemon's own time of day jumps; what it has promised is kept by the monotonic clock."""
    with ChaoticDaemon(folder, 3, 10.0) as daemon:
        long, short = daemon.new(max_age_s=600), daemon.new(max_age_s=6)
        with daemon.clock.jumped(3600):
            assert _expiry(daemon.show(long["id"])) - _expiry(long) > 3000, "its day has jumped"
            assert daemon.show(long["id"])["state"] == "ready"
            assert daemon.new()["state"] == "ready"
        with daemon.clock.jumped(-86400):
            assert daemon.wait_ended(short["id"])["exit"]["reason"] == "max_age"
            assert daemon.show(long["id"])["state"] == "ready"
        assert abs(_expiry(daemon.show(long["id"])) - _expiry(long)) < 60


def _expiry(session: dict[str, Any]) -> float:
    return datetime.datetime.fromisoformat(session["expires_at"]).timestamp()
