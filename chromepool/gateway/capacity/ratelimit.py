"""How often a client may create sessions: a token bucket for each."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Bucket:
    """Tokens of one client, as of a moment."""

    tokens: float
    at: float

    def refill(self, now: float, per_minute: float) -> None:
        """Adds what has dripped in since, up to a minute's worth."""
        size = max(1.0, per_minute)
        self.tokens = min(size, self.tokens + (now - self.at) * per_minute / 60)
        self.at = now


class RateLimiter:
    """A bucket for each client that has taken from it lately."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, owner: str, now: float, per_minute: float) -> float:
        """Takes a token: 0.0, or the seconds until there is one. 0 per minute is no limit."""
        if not per_minute:
            return 0.0
        bucket = self._buckets.setdefault(owner, Bucket(max(1.0, per_minute), now))
        bucket.refill(now, per_minute)
        if bucket.tokens < 1 - 1e-9:
            return (1 - bucket.tokens) * 60 / per_minute
        bucket.tokens -= 1
        return 0.0

    def give_back(self, owner: str) -> None:
        """Nothing came of it."""
        if owner in self._buckets:
            self._buckets[owner].tokens += 1

    def forget(self, now: float, per_minute: float) -> None:
        """Lets go of full buckets, which are as good as none; so there are never more of them than
        creations in the last minute."""
        for owner, bucket in list(self._buckets.items()):
            bucket.refill(now, per_minute)
            if bucket.tokens >= max(1.0, per_minute) - 1e-9:
                del self._buckets[owner]
