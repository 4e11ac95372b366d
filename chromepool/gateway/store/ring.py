"""A store of the newest items, bounded in number, in bytes and in time."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class _Entry(Generic[T]):
    number: int
    item: T
    size: int
    at: float


class Ring(Generic[T]):
    """Items by number. Numbers start at 1 and are never used again.

    The oldest items are dropped first: when there are too many, when they are too large together,
    and when they are too old, which needs no new item.
    """

    def __init__(
        self,
        max_items: int,
        max_bytes: int,
        clock: Callable[[], float],
        ttl_s: float | None = None,
    ) -> None:
        """``clock`` returns monotonic seconds; without ``ttl_s`` items do not age."""
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: collections.deque[_Entry[T]] = collections.deque()
        self._last = 0
        self.bytes = 0
        """Size of all items."""
        self.dropped = 0
        """Number of items that a bound has dropped."""

    def add(self, item: T, size: int) -> int:
        """Store an item of this size; return its number."""
        self._last += 1
        self._entries.append(_Entry(self._last, item, size, self._clock()))
        self.bytes += size
        self.trim()
        return self._last

    def grow(self, number: int, size: int) -> None:
        """Note that an item takes ``size`` more bytes, or fewer."""
        entry = self._find(number)
        if entry is not None:
            entry.size += size
            self.bytes += size
            self.trim()

    def trim(self) -> None:
        """Drop the items that exceed a bound."""
        while self._entries and self._is_over(self._entries[0]):
            self.bytes -= self._entries.popleft().size
            self.dropped += 1

    def _is_over(self, oldest: _Entry[T]) -> bool:
        if len(self._entries) > self._max_items or self.bytes > self._max_bytes:
            return True
        return self._ttl_s is not None and self._clock() - oldest.at >= self._ttl_s

    def get(self, number: int) -> T | None:
        """Return the item of this number, if it is still stored."""
        self.trim()
        entry = self._find(number)
        return None if entry is None else entry.item

    def _find(self, number: int) -> _Entry[T] | None:
        # From the end: mostly one of the newest is wanted.
        return next((e for e in reversed(self._entries) if e.number == number), None)

    def remove(self, number: int) -> bool:
        """Remove an item; return whether it was stored."""
        entry = self._find(number)
        if entry is None:
            return False
        self._entries.remove(entry)
        self.bytes -= entry.size
        return True

    def clear(self) -> None:
        """Remove all items."""
        self._entries.clear()
        self.bytes = 0

    def __len__(self) -> int:
        self.trim()
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Iterate over numbers and items, from the oldest."""
        self.trim()
        return iter([(entry.number, entry.item) for entry in self._entries])
