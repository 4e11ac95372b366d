"""The schedule of faults: a seed decides it, and every kind comes in turn."""

from __future__ import annotations

import os

import pytest

from bench.chaos.schedule import (
    ENDS_GATEWAY,
    GATEWAY_ENDS,
    ON_A_SESSION,
    TOGETHER,
    Kind,
    make_schedule,
)

_SEED = int(os.environ.get("CHROMEPOOL_CHAOS_SEED") or 20)


_PLACES = 4


_ROUNDS = -(-len(Kind) // TOGETHER)


def _kinds(seed: int, rounds: int) -> list[Kind]:
    lives = make_schedule(seed, rounds, _PLACES)
    return [fault.kind for life in lives for round in life for fault in round.faults]


def test_a_seed_decides_everything() -> None:
    assert make_schedule(7, 30, 4) == make_schedule(7, 30, 4)
    assert make_schedule(7, 30, 4) != make_schedule(8, 30, 4)


@pytest.mark.parametrize("seed", range(50))
def test_every_kind_comes_before_any_comes_again(seed: int) -> None:
    kinds = _kinds(seed, 200)
    assert set(kinds[: len(Kind)]) == set(Kind)
    most, least = (choose(kinds.count(kind) for kind in Kind) for choose in (max, min))
    assert most - least <= TOGETHER


@pytest.mark.parametrize("seed", range(50))
def test_no_session_has_two_faults_and_no_daemon_too_many_gateways(seed: int) -> None:
    for life in make_schedule(seed, 100, _PLACES):
        faults = [fault for round in life for fault in round.faults]
        assert sum(fault.kind in ENDS_GATEWAY for fault in faults) <= GATEWAY_ENDS
        for round in life:
            victims = [fault.victim for fault in round.faults if fault.victim >= 0]
            assert len(set(victims)) == len(victims)
            assert all((f.victim >= 0) == (f.kind in ON_A_SESSION) for f in round.faults)
            assert len({fault.kind for fault in round.faults}) == len(round.faults)


def test_every_kind_fits_into_the_short_form() -> None:
    assert set(_kinds(_SEED, _ROUNDS)) == set(Kind)
