"""Counters and durations of creations, since the gateway started."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator

from chromepool.errors import ChromepoolError
from chromepool.gateway.histogram import Histogram

_CREATION_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAIT_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class CreationStats:
    """Durations and refusals, read by the metrics and never reset."""

    def __init__(self) -> None:
        self.cold, self.warm = Histogram(_CREATION_S), Histogram(_CREATION_S)
        """Seconds from the slot until the session was ready."""
        self.waited = Histogram(_WAIT_S)
        """Seconds in the queue, of callers who had to wait, whether they got a slot or not."""
        self.refused: collections.Counter[str] = collections.Counter()
        """Refusals by the code of the problem."""

    def created(self, seconds: float, *, warm: bool) -> None:
        """Count a session and the seconds that its creation took."""
        (self.warm if warm else self.cold).add(seconds)

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Count the error that ends the block, and let it through."""
        try:
            yield
        except ChromepoolError as error:
            self.refused[error.code] += 1
            raise
