"""How long the daemon's end may take. Decides only."""

from __future__ import annotations

import time
from collections.abc import Callable

from chromepool.logs import Log

log = Log("chromepool.supervisor")

_LOOK_S = 0.05
"""How often what was killed is looked at, once the time is over."""
_GIVE_UP_S = 10.0
"""How long that may take: the kernel may not let go of a process, nor ``rm`` be done. What is left
then is ended by the next start."""


class ShutdownDeadline:
    """Begins with the first request to stop; a second one means at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline: float | None = None

    @property
    def begun(self) -> bool:
        """Whether it has."""
        return self._deadline is not None

    @property
    def late(self) -> bool:
        """Whether what is left is to be killed."""
        return self._deadline is not None and self._clock() >= self._deadline

    def begin(self, timeout_s: float) -> None:
        """All are to be gone in so long."""
        self._deadline = self._clock() + timeout_s

    def over(self, sessions: list[str], gateways: list[int]) -> bool:
        """Whether nothing is left of these, or no more can be done about it."""
        if self._deadline is None:
            return False
        if not sessions and not gateways:
            return True
        if self._clock() < self._deadline + _GIVE_UP_S:
            return False
        log.error("daemon.left_behind", sessions=sessions, gateways=gateways)
        return True

    def due(self, now: float) -> list[float]:
        """When it is to be looked at next."""
        return [] if self._deadline is None else [max(self._deadline, now + _LOOK_S)]
