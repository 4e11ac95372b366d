"""A circuit breaker for starts: when Chrome keeps failing, callers are told at once."""

from __future__ import annotations


class Breaker:
    """Closed: starts are tried. Open: they are not, until a pause is over. Then one is tried, and
    its outcome closes the circuit or opens it again."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until: float | None = None
        self._trying = False
        self.words = ""
        """The last failure, in Chrome's words."""

    def pause_s(self, now: float) -> float:
        """Seconds until a start may be tried; 0.0: now."""
        if self._open_until is None:
            return 0.0
        if self._trying:  # wait for the outcome of the one that is under way
            return max(1.0, self._open_until - now)
        return max(0.0, self._open_until - now)

    @property
    def is_open(self) -> bool:
        """Whether starts have been failing."""
        return self._open_until is not None

    def begin(self) -> None:
        """A start is tried."""
        self._trying = self.is_open

    def cancel(self) -> None:
        """A start was given up before it could tell anything."""
        self._trying = False

    def succeed(self) -> None:
        """It worked."""
        self._failures, self._open_until, self._trying, self.words = 0, None, False, ""

    def fail(self, now: float, words: str, *, failures: int, pause_s: float) -> None:
        """It did not, the last of several tries; from ``failures`` in a row on, the circuit is open
        for ``pause_s``."""
        self._failures += 1
        self.words, self._trying = words, False
        if self._failures >= failures:
            self._open_until = now + pause_s
