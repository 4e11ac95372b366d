"""``make chaos`` in short: every kind of fault once, on a pool that is in use, and the books."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.pool import ChaoticDaemon
from bench.chaos.runner import play
from bench.chaos.schedule import ENDS_GATEWAY, GATEWAY_ENDS, ON_A_SESSION, TOGETHER, Kind, plan

_SEED = int(os.environ.get("CHROMEPOOL_CHAOS_SEED") or 20)
_PLACES = 4
_ROUNDS = -(-len(Kind) // TOGETHER)

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("cc", "mount", "prlimit"))),
    reason="needs root, for control groups and a disk of its own, cc, mount and prlimit",
)


def _kinds(seed: int, rounds: int) -> list[Kind]:
    lives = plan(seed, rounds, _PLACES)
    return [fault.kind for life in lives for page in life for fault in page.faults]


def test_a_seed_decides_everything() -> None:
    assert plan(7, 30, 4) == plan(7, 30, 4)
    assert plan(7, 30, 4) != plan(8, 30, 4)


@pytest.mark.parametrize("seed", range(50))
def test_every_kind_comes_before_any_comes_again(seed: int) -> None:
    kinds = _kinds(seed, 200)
    assert set(kinds[: len(Kind)]) == set(Kind)
    most, least = (choose(kinds.count(kind) for kind in Kind) for choose in (max, min))
    assert most - least <= TOGETHER


@pytest.mark.parametrize("seed", range(50))
def test_no_session_has_two_faults_and_no_daemon_too_many_gateways(seed: int) -> None:
    for life in plan(seed, 100, _PLACES):
        faults = [fault for page in life for fault in page.faults]
        assert sum(fault.kind in ENDS_GATEWAY for fault in faults) <= GATEWAY_ENDS
        for page in life:
            victims = [fault.victim for fault in page.faults if fault.victim >= 0]
            assert len(set(victims)) == len(victims)
            assert all((f.victim >= 0) == (f.kind in ON_A_SESSION) for f in page.faults)
            assert len({fault.kind for fault in page.faults}) == len(page.faults)


def test_every_kind_fits_into_the_short_form() -> None:
    assert set(_kinds(_SEED, _ROUNDS)) == set(Kind)


@as_root
@pytest.mark.timeout(600)
def test_the_books_balance_after_every_round() -> None:
    said: list[str] = []
    try:
        pages = play(plan(_SEED, _ROUNDS, _PLACES), _PLACES, health_timeout_s=3.0, say=said.append)
    finally:
        print(f"CHROMEPOOL_CHAOS_SEED={_SEED}", *said, sep="\n")
    assert [wrong for page in pages for wrong in page.broken] == []
    assert all(page.answers for page in pages), "the pool was in use"


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
