"""Histograms of durations, cheap enough for the hot path."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence


class Histogram:
    """Counts durations in buckets. Counts never decrease."""

    __slots__ = ("_counts", "bounds", "total_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds`` are in seconds, ascending; longer durations are counted as well."""
        self.bounds = tuple(bounds)
        self.total_s = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one duration; one that equals a bound is within it."""
        self._counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    @property
    def count(self) -> int:
        """Number of all durations."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound with the number of durations up to it; infinity is the last bound."""
        sums = itertools.accumulate(self._counts)
        return list(zip((*self.bounds, float("inf")), sums, strict=True))


_BOUNDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25)
SAMPLED = 16
"""Number of batches of which one is measured. Sampling costs each batch 85 ns, mostly to read the
clock (measured)."""


class CdpLatency:
    """Time that the gateway adds to CDP, for all sessions together: from a batch of messages being
    read to its being written."""

    def __init__(self) -> None:
        self.to_chrome = Histogram(_BOUNDS)
        self.to_client = Histogram(_BOUNDS)
