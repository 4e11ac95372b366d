"""Histograms of durations, cheap enough for the hot path."""

import bisect
import itertools
import time
from collections.abc import Sequence

_SAMPLED = 16


class Histogram:
    """Counts durations in buckets. Counts never decrease."""

    __slots__ = ("_counts", "_skipped", "bounds", "total_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds`` are in seconds, ascending; longer durations are counted as well."""
        self.bounds = tuple(bounds)
        self.total_s = 0.0
        self._skipped = 0
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one duration; one that equals a bound is within it."""
        self._counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound with the number of durations up to it; infinity is the last bound."""
        sums = itertools.accumulate(self._counts)
        return list(zip((*self.bounds, float("inf")), sums, strict=True))

    def sample(self, began: float) -> None:
        """Count every 16th time since ``began`` (``time.perf_counter``): reading it costs 85 ns."""
        self._skipped = (self._skipped + 1) % _SAMPLED
        if not self._skipped:
            self.add(time.perf_counter() - began)


_BOUNDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25)


class CdpLatency:
    """Time from reading a batch of CDP messages to writing it, for all sessions together."""

    def __init__(self) -> None:
        self.to_chrome = Histogram(_BOUNDS)
        self.to_client = Histogram(_BOUNDS)
