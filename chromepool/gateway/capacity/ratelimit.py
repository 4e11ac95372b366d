"""The rate at which each client may create sessions: a token bucket for each."""


class RateLimiter:
    """Token buckets of the clients that have created sessions lately."""

    def __init__(self, per_minute: float) -> None:
        """``per_minute`` is the number of sessions that each client may create; 0: no limit."""
        self.per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens of each client, and the time at which there were as many."""

    def _tokens(self, owner: str, now: float) -> float:
        """Tokens of a client now, up to those of one minute."""
        size = max(1.0, self.per_minute)
        tokens, at = self._buckets.get(owner, (size, now))
        return min(size, tokens + (now - at) * self.per_minute / 60)

    def take(self, owner: str, now: float) -> float:
        """Take a token: 0.0, or the seconds until there is one."""
        if not self.per_minute:
            return 0.0
        tokens = self._tokens(owner, now)
        is_there = tokens >= 1 - 1e-9
        self._buckets[owner] = (tokens - is_there, now)
        return 0.0 if is_there else (1 - tokens) * 60 / self.per_minute

    def give_back(self, owner: str) -> None:
        """Give a token back: no session was created with it."""
        if owner in self._buckets:
            tokens, at = self._buckets[owner]
            self._buckets[owner] = (tokens + 1, at)

    def forget(self, now: float) -> None:
        """Forget full buckets, which are as good as none: the rest had a creation lately."""
        full = max(1.0, self.per_minute) - 1e-9
        for owner in list(self._buckets):
            if self._tokens(owner, now) >= full:
                del self._buckets[owner]
