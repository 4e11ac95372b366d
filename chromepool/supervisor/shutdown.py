"""The time that the daemon's shutdown may take."""

import time
from collections.abc import Callable

from chromepool.logs import Log

log = Log("chromepool.supervisor")

_POLL_S = 0.05
"""Pause between two looks at what was killed, once the deadline has passed."""
_GIVE_UP_S = 10.0
"""Time for that: the kernel may not end a process, nor ``rm`` a folder. The next start removes what
is left then."""


class ShutdownDeadline:
    """A deadline that the first request to stop sets, and a second one moves to now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline: float | None = None

    @property
    def begun(self) -> bool:
        """True if a stop was requested."""
        return self._deadline is not None

    @property
    def expired(self) -> bool:
        """True if everything that is left is to be killed."""
        return self._deadline is not None and self._clock() >= self._deadline

    def begin(self, timeout_s: float) -> None:
        """Allow this much time from now on."""
        self._deadline = self._clock() + timeout_s

    def finished(self, sessions: list[str], gateways: list[int]) -> bool:
        """Return whether nothing is left of these, or no more can be done about it."""
        if self._deadline is None:
            return False
        if not sessions and not gateways:
            return True
        if self._clock() < self._deadline + _GIVE_UP_S:
            return False
        log.error("shutdown.timed_out", sessions=sessions, gateways=gateways)
        return True

    def due(self, now: float) -> list[float]:
        """Return when :meth:`finished` is to be asked next (monotonic), if at all."""
        return [] if self._deadline is None else [max(self._deadline, now + _POLL_S)]
