"""Slots of sessions: labels for metrics that are bounded and do not show a session's id."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chromepool.model import Usage

COUNTED = ("cpu_s", "oom_kills", "cpu_stall_s", "memory_stall_s", "io_stall_s")
"""Fields of the usage that only grow."""


class Slot:
    """A slot. Its counters continue from one session to the next."""

    def __init__(self) -> None:
        self.key: int | None = None
        """Key of the session in the slot."""
        self.usage = Usage()
        """Usage of that session when it was last measured."""
        self.asked_at = -math.inf
        """Time of that measurement, in the clock's seconds."""
        self._before: dict[str, float] = {}
        self._now: dict[str, float] = {}

    def note(self, usage: Usage) -> None:
        """Record the usage of the slot's session."""
        self.usage = usage
        for name in COUNTED:
            value = getattr(usage, name)
            if value is not None:  # without v2, CPU time of processes that ended is not counted
                self._now[name] = max(value, self._now.get(name, 0.0))

    def clear(self, usage: Usage) -> None:
        """Record the last usage of a session that has ended, and free the slot."""
        self.note(usage)
        for name, value in self._now.items():
            self._before[name] = self._before.get(name, 0.0) + value
        self._now = {}
        self.usage = Usage()
        self.key = None
        self.asked_at = -math.inf

    def counted(self, name: str) -> float | None:
        """Return the sum over all sessions of the slot, None if it was never measured."""
        if name not in self._before | self._now:
            return None
        return self._before.get(name, 0.0) + self._now.get(name, 0.0)


class Slots:
    """Assigns the lowest free slot to each session."""

    def __init__(self, max_slots: int) -> None:
        self._max_slots = max_slots
        self._slots: list[Slot] = []
        self._by_key: dict[int, Slot] = {}

    def assign(self, key: int) -> None:
        """Give a session a slot, unless it has one, or all are taken: for a moment there may be one
        Chrome more than slots, which is assigned one later."""
        if key in self._by_key:
            return
        free = next((slot for slot in self._slots if slot.key is None), None)
        if free is None and len(self._slots) < self._max_slots:
            free = Slot()
            self._slots.append(free)
        if free is not None:
            free.key = key
            self._by_key[key] = free

    def get(self, key: int) -> Slot | None:
        """Return the slot of a session, if it has one."""
        return self._by_key.get(key)

    def release(self, key: int, usage: Usage) -> None:
        """Free the slot of a session that has ended, if it had one."""
        slot = self._by_key.pop(key, None)
        if slot is not None:
            slot.clear(usage)

    def __iter__(self) -> Iterator[tuple[str, Slot]]:
        """Iterate over labels and slots, those that are free again included."""
        return ((str(number), slot) for number, slot in enumerate(self._slots))
