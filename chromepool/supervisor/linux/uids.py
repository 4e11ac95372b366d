"""The uids of sessions, each given to one session at a time."""

import collections

from chromepool.errors import StartFailed


class Uids:
    """A range of uids that are taken in turn and given back, so that a freed one rests for long."""

    def __init__(self, base: int, count: int) -> None:
        self._range = range(base, base + count)
        self._free = collections.deque(self._range)

    def take(self) -> int:
        """Return a uid that no session has; raises :class:`StartFailed` when all are taken."""
        if self._free:
            return self._free.popleft()
        count, base = len(self._range), self._range.start
        raise StartFailed(f"All {count} uids from {base} are in use.", remedy="Raise uid_count.")

    def reserve(self, uid: int) -> bool:
        """Take this very uid, for good; return False where it is outside the range or taken."""
        if uid not in self._free:
            return False
        self._free.remove(uid)
        return True

    def free(self, uid: int) -> None:
        """Give a uid back, once no process of it is left."""
        if uid in self._range and uid not in self._free:
            self._free.append(uid)
