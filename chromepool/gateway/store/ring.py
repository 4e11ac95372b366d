"""Stores of the newest items, bounded in number, in bytes and in time."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class _Entry(Generic[T]):
    item: T
    size: int
    at: float


class BoundedStore(Generic[K, T]):
    """Items by key. The oldest are dropped when there are too many, when they are too large
    together, and when they are too old, which needs no new item."""

    def __init__(
        self,
        max_items: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        ttl_s: float = float("inf"),
    ) -> None:
        """``clock`` returns monotonic seconds; without ``ttl_s`` items do not age."""
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: dict[K, _Entry[T]] = {}
        self.bytes = 0
        """Size of all items."""
        self.dropped = 0
        """Number of items that a bound has dropped."""

    def put(self, key: K, item: T, size: int) -> None:
        """Store an item of this size as the newest, and replace one with the same key."""
        self.remove(key)
        self._entries[key] = _Entry(item, size, self._clock())
        self.bytes += size
        self.trim()

    def grow(self, key: K, size: int) -> None:
        """Note that an item takes ``size`` more bytes, or fewer."""
        if key in self._entries:
            self._entries[key].size += size
            self.bytes += size
            self.trim()

    def trim(self) -> None:
        """Drop the items that exceed a bound."""
        while self._entries:
            key, oldest = next(iter(self._entries.items()))
            full = len(self._entries) > self._max_items or self.bytes > self._max_bytes
            if not full and self._clock() - oldest.at < self._ttl_s:
                break
            self.remove(key)
            self.dropped += 1

    def get(self, key: K) -> T | None:
        """Return the item of this key, if it is still stored."""
        self.trim()
        entry = self._entries.get(key)
        return None if entry is None else entry.item

    def remove(self, key: K) -> T | None:
        """Remove and return the item of this key, if it is still stored."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.bytes -= entry.size
        return entry.item

    def clear(self) -> None:
        """Remove all items."""
        self._entries.clear()
        self.bytes = 0

    def __len__(self) -> int:
        self.trim()
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[K, T]]:
        """Iterate over keys and items, from the oldest."""
        self.trim()
        return iter([(key, entry.item) for key, entry in self._entries.items()])


class Ring(BoundedStore[int, T]):
    """Items by number. Numbers start at 1 and are never used again."""

    _last = 0

    def add(self, item: T, size: int) -> int:
        """Store an item of this size; return its number."""
        self._last += 1
        self.put(self._last, item, size)
        return self._last
