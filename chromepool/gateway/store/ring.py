"""A list that keeps the newest: bounded in number, in bytes and in time."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class _Kept(Generic[T]):
    number: int
    item: T
    size: int
    at: float


class Ring(Generic[T]):
    """Items by number, counted from 1 and never again. The oldest go first: when there are too many
    or they take too much room, and by time, also when nothing new arrives."""

    def __init__(
        self,
        most: int,
        most_bytes: int,
        clock: Callable[[], float],
        ttl_s: float | None = None,
    ) -> None:
        """``clock`` gives monotonic seconds; without ``ttl_s`` nothing goes by time."""
        self._most, self._most_bytes, self._ttl_s = most, most_bytes, ttl_s
        self._clock = clock
        self._kept: collections.deque[_Kept[T]] = collections.deque()
        self._last = 0
        self.bytes = 0
        """What the items take."""
        self.dropped = 0
        """How many have gone by themselves."""

    def add(self, item: T, size: int) -> int:
        """Keeps an item; its number."""
        self._last += 1
        self._kept.append(_Kept(self._last, item, size, self._clock()))
        self.bytes += size
        self.trim()
        return self._last

    def grow(self, number: int, size: int) -> None:
        """An item that is kept takes so many bytes more than it did, or fewer."""
        kept = self._find(number)
        if kept is not None:
            kept.size += size
            self.bytes += size
            self.trim()

    def trim(self) -> None:
        """Lets go of what is too old or too much."""
        while self._kept and self._is_over(self._kept[0]):
            self.bytes -= self._kept.popleft().size
            self.dropped += 1

    def _is_over(self, oldest: _Kept[T]) -> bool:
        if len(self._kept) > self._most or self.bytes > self._most_bytes:
            return True
        return self._ttl_s is not None and self._clock() - oldest.at >= self._ttl_s

    def get(self, number: int) -> T | None:
        """The item of this number, if it is kept still."""
        self.trim()
        kept = self._find(number)
        return None if kept is None else kept.item

    def _find(self, number: int) -> _Kept[T] | None:
        """Mostly it is one of the newest that is asked for."""
        for kept in reversed(self._kept):
            if kept.number == number:
                return kept
        return None

    def remove(self, number: int) -> bool:
        """Takes one out; whether it was there."""
        for kept in self._kept:
            if kept.number == number:
                self._kept.remove(kept)
                self.bytes -= kept.size
                return True
        return False

    def clear(self) -> None:
        """Takes all out."""
        self._kept.clear()
        self.bytes = 0

    def __len__(self) -> int:
        self.trim()
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Numbers and items, the oldest first."""
        self.trim()
        return iter([(kept.number, kept.item) for kept in self._kept])
