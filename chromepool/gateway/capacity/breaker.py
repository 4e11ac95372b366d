"""A circuit breaker for starts: when Chrome keeps failing, callers are told at once."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(eq=False, slots=True)
class Attempt:
    """A start under way, all its tries together."""


class Breaker:
    """Closed: starts are tried. Open: they are not, until a pause is over. Then one is tried, and
    its outcome closes the circuit or opens it again."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until: float | None = None
        self._trial: Attempt | None = None
        self.words = ""
        """The last failure, in Chrome's words."""

    def pause_s(self, now: float) -> float:
        """Seconds until a start may be tried; 0.0: now."""
        if self._open_until is None:
            return 0.0
        if self._trial is not None:  # wait for the outcome of the one that is under way
            return max(1.0, self._open_until - now)
        return max(0.0, self._open_until - now)

    @property
    def is_open(self) -> bool:
        """Whether starts have been failing."""
        return self._open_until is not None

    def begin(self) -> Attempt:
        """A start is tried, after :meth:`pause_s` has said 0."""
        attempt = Attempt()
        if self.is_open:
            self._trial = attempt
        return attempt

    def cancel(self, attempt: Attempt) -> None:
        """A start was given up before it could tell anything."""
        if attempt is self._trial:
            self._trial = None

    def succeed(self) -> None:
        """One worked, whichever."""
        self._failures, self._open_until, self._trial, self.words = 0, None, None, ""

    def fail(
        self, attempt: Attempt, now: float, words: str, *, failures: int, pause_s: float
    ) -> None:
        """One did not; from ``failures`` in a row on, the circuit is open for ``pause_s``."""
        if self.is_open and attempt is not self._trial:
            return  # begun before it opened: it says nothing new
        self._failures += 1
        self.words, self._trial = words, None
        if self._failures >= failures:
            self._open_until = now + pause_s
