"""The rate at which each client may create sessions: a token bucket for each."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Bucket:
    """Tokens of one client, as of a moment."""

    tokens: float
    at: float

    def refill(self, now: float, per_minute: float) -> None:
        """Add the tokens since the last call, up to those of one minute."""
        size = max(1.0, per_minute)
        self.tokens = min(size, self.tokens + (now - self.at) * per_minute / 60)
        self.at = now


class RateLimiter:
    """Token buckets of the clients that have created sessions lately."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, owner: str, now: float, per_minute: float) -> float:
        """Take a token: 0.0, or the seconds until there is one; 0 per minute is no limit."""
        if not per_minute:
            return 0.0
        bucket = self._buckets.setdefault(owner, Bucket(max(1.0, per_minute), now))
        bucket.refill(now, per_minute)
        if bucket.tokens < 1 - 1e-9:
            return (1 - bucket.tokens) * 60 / per_minute
        bucket.tokens -= 1
        return 0.0

    def give_back(self, owner: str) -> None:
        """Give a token back: no session was created with it."""
        if owner in self._buckets:
            self._buckets[owner].tokens += 1

    def forget(self, now: float, per_minute: float) -> None:
        """Forget full buckets, which are as good as none.

        There are never more buckets than creations in the last minute, therefore.
        """
        for owner, bucket in list(self._buckets.items()):
            bucket.refill(now, per_minute)
            if bucket.tokens >= max(1.0, per_minute) - 1e-9:
                del self._buckets[owner]
