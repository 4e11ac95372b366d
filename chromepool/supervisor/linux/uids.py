"""The uids of sessions, each given to one session at a time."""

from __future__ import annotations

from chromepool.errors import StartFailed


class Uids:
    """A range of uids that are taken in turn and given back, so that a freed one rests for long."""

    def __init__(self, base: int, count: int) -> None:
        self._base = base
        self._count = count
        self._next = 0
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return a uid that no session has; raises :class:`StartFailed` when all are taken."""
        for _ in range(self._count):
            uid = self._base + self._next
            self._next = (self._next + 1) % self._count
            if uid not in self._taken:
                self._taken.add(uid)
                return uid
        raise StartFailed(
            f"All {self._count} uids from {self._base} are in use.", remedy="Raise uid_count."
        )

    def reserve(self, uid: int) -> bool:
        """Take this very uid, for good; return False where it is outside the range or taken."""
        if uid in self._taken or not self._base <= uid < self._base + self._count:
            return False
        self._taken.add(uid)
        return True

    def free(self, uid: int) -> None:
        """Give a uid back, once no process of it is left."""
        self._taken.discard(uid)
