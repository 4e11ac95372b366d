"""A circuit breaker for starts: when Chrome keeps failing, callers are refused at once."""

import dataclasses

from chromepool.config import Settings


@dataclasses.dataclass(eq=False)
class Breaker:
    """Lets starts through while closed, and refuses them while open. After a pause one start is let
    through, and its outcome closes the circuit or opens it again."""

    settings: Settings
    words: str = ""
    """The last failure, in Chrome's words."""
    _failures: int = 0
    _open_until: float | None = None
    _trial: object = None

    def pause_s(self, now: float) -> float:
        """Seconds until a start may be tried; 0.0: now."""
        if self._open_until is None:
            return 0.0
        # A start that is under way is waited for.
        return max(0.0 if self._trial is None else 1.0, self._open_until - now)

    @property
    def is_open(self) -> bool:
        """True while starts keep failing."""
        return self._open_until is not None

    def begin(self) -> object:
        """Begin a start, with all its attempts, after :meth:`pause_s` was 0."""
        attempt = object()
        if self.is_open:
            self._trial = attempt
        return attempt

    def cancel(self, attempt: object) -> None:
        """Forget a start that was given up before its outcome was known."""
        if attempt is self._trial:
            self._trial = None

    def succeed(self) -> None:
        """Close the circuit: a start succeeded."""
        self._failures = 0
        self._open_until = None
        self._trial = None
        self.words = ""

    def fail(self, attempt: object, now: float, words: str) -> None:
        """Count a failed start: ``breaker_failures`` in a row open the circuit."""
        if self.is_open and attempt is not self._trial:
            return  # begun before the circuit opened: the failure is no news
        self._failures += 1
        self.words = words
        self._trial = None
        if self._failures >= self.settings.breaker_failures:
            self._open_until = now + self.settings.breaker_pause_s
