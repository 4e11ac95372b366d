"""Histograms as Prometheus counts them."""

from __future__ import annotations

import pytest

from chromepool.gateway.histogram import Histogram


def test_durations_are_cumulative_and_a_bound_is_within_itself() -> None:
    durations = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        durations.add(seconds)
    assert durations.cumulative() == [(0.1, 2), (1.0, 3), (float("inf"), 4)]
    assert durations.total_s == pytest.approx(7.65)
