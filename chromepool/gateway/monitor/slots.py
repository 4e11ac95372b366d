"""Which session is at which slot: labels that are bounded, and say nothing of a session's id."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from chromepool.model import Usage

COUNTED = ("cpu_s", "oom_kills", "cpu_stall_s", "memory_stall_s", "io_stall_s")
"""What of the usage only ever grows."""


class Slot:
    """One place. What is counted goes on from one session to the next."""

    def __init__(self) -> None:
        self.key: int | None = None
        """The session there now."""
        self.usage = Usage()
        """What it used when it was asked last,"""
        self.asked_at = -math.inf
        """which was then."""
        self._before: dict[str, float] = {}
        self._now: dict[str, float] = {}

    def note(self, usage: Usage) -> None:
        """Its session uses so much."""
        self.usage = usage
        for name in COUNTED:
            value = getattr(usage, name)
            if value is not None:  # a session whose processes end counts less CPU time without v2
                self._now[name] = max(value, self._now.get(name, 0.0))

    def clear(self, usage: Usage) -> None:
        """Its session has ended, and had used so much."""
        self.note(usage)
        for name, value in self._now.items():
            self._before[name] = self._before.get(name, 0.0) + value
        self._now, self.usage, self.key, self.asked_at = {}, Usage(), None, -math.inf

    def counted(self, name: str) -> float | None:
        """What all its sessions took; None where nothing could ever tell."""
        if name not in self._before and name not in self._now:
            return None
        return self._before.get(name, 0.0) + self._now.get(name, 0.0)


class Slots:
    """The lowest that is free goes to the next session."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []
        self._by_key: dict[int, Slot] = {}

    def seat(self, key: int, most: int) -> None:
        """Gives a session a slot below ``most``, unless it has one. Where all are taken (there may
        be a Chrome more than places for a moment) it gets none, and is to be seated later."""
        if key in self._by_key:
            return
        for number in itertools.count():
            if number == most:
                return
            if number == len(self._slots):
                self._slots.append(Slot())
            if self._slots[number].key is None:
                self._slots[number].key = key
                self._by_key[key] = self._slots[number]
                return

    def of(self, key: int) -> Slot | None:
        """The slot of a session."""
        return self._by_key.get(key)

    def leave(self, key: int, usage: Usage) -> None:
        """A session has ended. May be one that had no slot."""
        slot = self._by_key.pop(key, None)
        if slot is not None:
            slot.clear(usage)

    def __iter__(self) -> Iterator[tuple[str, Slot]]:
        """All that ever were taken, with their labels."""
        return ((str(number), slot) for number, slot in enumerate(self._slots))
