"""Lag of the event loop: the time that everything waits for one long computation."""

from __future__ import annotations

import asyncio

from chromepool.gateway.histogram import Histogram

_EVERY_S = 0.5
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Lag:
    """Measures how much later than asked the event loop wakes a task."""

    def __init__(self) -> None:
        self.durations = Histogram(_BOUNDS)

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.durations.add(max(0.0, loop.time() - due))
