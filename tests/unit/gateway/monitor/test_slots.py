"""Slots of the metrics: few labels for many sessions, and counters that never go back."""

from __future__ import annotations

from chromepool.gateway.monitor.slots import Slots
from chromepool.model import Usage


def test_the_lowest_free_slot_is_taken_and_none_beyond_the_bound() -> None:
    slots = Slots()
    for key in (11, 12, 13, 12):
        slots.assign(key, 2)
    assert [(label, slot.key) for label, slot in slots] == [("0", 11), ("1", 12)]
    assert slots.get(13) is None
    slots.release(11, Usage())
    slots.release(13, Usage())
    slots.release(11, Usage())
    slots.assign(13, 2)
    assert [(label, slot.key) for label, slot in slots] == [("0", 13), ("1", 12)]


def test_a_slot_counts_on_from_one_session_to_the_next() -> None:
    slots = Slots()
    told = []
    for key in (1, 2):
        slots.assign(key, 1)
        slot = slots.get(key)
        assert slot is not None
        for cpu_s in (1.0, 3.0, 2.0):  # less than before: a process of it has ended
            slot.note(Usage(cpu_s=cpu_s))
            told.append(slot.counted("cpu_s"))
        slots.release(key, Usage(cpu_s=3.5))
        told.append(slot.counted("cpu_s"))
        slots.release(key, Usage(cpu_s=3.5))
    assert told == [1.0, 3.0, 3.0, 3.5, 4.5, 6.5, 6.5, 7.0]
    assert slot is not None
    assert slot.counted("io_stall_s") is None
    assert slot.usage == Usage()
