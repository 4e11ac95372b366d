"""Durations, counted in buckets: as cheap as it gets, since some are taken on the hot path."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence


class Histogram:
    """How many were how long. Nothing of it ever goes back."""

    __slots__ = ("_counts", "bounds", "total_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds`` in seconds, ascending; what is longer than the last counts as well."""
        self.bounds = tuple(bounds)
        self.total_s = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """One more; one that is as long as a bound is within it."""
        self._counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bound how many were no longer; infinity is the last."""
        sums = itertools.accumulate(self._counts)
        return list(zip((*self.bounds, float("inf")), sums, strict=True))


_BOUNDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25)
SAMPLED = 16
"""Of so many batches one is measured. A batch costs 85 ns more for it, mostly the reading of the
clock (measured)."""


class CdpLatency:
    """What the gateway itself adds to CDP, of all sessions together: from having read a batch of
    messages until it is written."""

    def __init__(self) -> None:
        self.to_chrome, self.to_client = Histogram(_BOUNDS), Histogram(_BOUNDS)
