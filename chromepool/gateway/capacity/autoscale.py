"""The number of sessions that the machine can carry now, and of warm Chromes worth keeping.

The deciding functions are pure: snapshots and times in, numbers out. A limit may fall at once; it
rises by one at a time, and only after there was room for more all the while.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence

from chromepool.config import Settings

RISE_S = 10.0
"""Seconds of room before one more session is admitted."""
LONGEST_RISE_S = 640.0
"""The most seconds of room before a rise. A rise that had to be taken back doubles the wait, and a
rise after one that stood halves it again."""
_MIB = 1 << 20
_RECORD_S = 600.0
"""Seconds for which a burst of creations keeps warm Chromes in reserve."""
_RECORD = 1000
_STARTS = 20
_PAUSE_S = 0.5
"""Seconds from taking a warm Chrome until the start of the next one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """The machine at one moment."""

    sessions: int
    left_bytes: int | None
    """Memory left, by the group and the machine; None: nothing can tell."""
    uses: tuple[int, ...] = ()
    """Memory of each Chrome."""
    memory_pressure: float = 0.0
    """Share of the time in which something waited for memory."""
    cpu_pressure: float = 0.0
    """Share of the time in which something waited for a CPU."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the limit, and the least that one more Chrome needs."""

    floor: int
    most: int
    need_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """A mark of fullness. Rising takes more room than staying, or the limit would tremble."""

    slack: float
    """Factor on the memory that a session needs."""
    memory: float
    cpu: float


FALL = Edge(slack=1.0, memory=0.10, cpu=0.80)
RISE = Edge(slack=1.25, memory=0.05, cpu=0.60)


def percentile(values: Sequence[int], share: float) -> int:
    """The value that this share of the values does not exceed; 0 for no values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0


def by_memory(load: Load, bounds: Bounds, slack: float) -> int:
    """Number of Chromes that the memory carries: one more takes as much as they take on average,
    and one of those that run may grow until it is as large as the largest."""
    if load.left_bytes is None:
        return bounds.most
    mean = sum(load.uses) // len(load.uses) if load.uses else 0
    need = max(bounds.need_bytes, mean) * slack
    growth = max(0, percentile(load.uses, 0.95) - mean) * slack
    left = load.left_bytes
    spare = left - growth if left > growth else min(left, 0)
    return max(len(load.uses), load.sessions) + math.floor(spare / max(need, 1))


def fitting(load: Load, bounds: Bounds, edge: Edge) -> tuple[int, str]:
    """Number of sessions that fit at this moment, and the reason why not more; pure."""
    found = [(bounds.most, "")]
    carried = by_memory(load, bounds, edge.slack)
    if load.left_bytes is not None:
        found.append((carried, f"{max(0, load.left_bytes) // _MIB} MiB of memory are left"))
    if load.memory_pressure >= edge.memory:
        said = f"memory is short ({load.memory_pressure:.0%} of the time something waits for it)"
        found.append((load.sessions - 1, said))
    if load.cpu_pressure >= edge.cpu:
        said = f"the CPUs are busy ({load.cpu_pressure:.0%} of the time something waits for one)"
        found.append((load.sessions, said))
    number, why = min(found, key=lambda one: one[0])
    return max(min(bounds.floor, bounds.most), min(number, bounds.most)), why


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """The number of sessions admitted, and how it came to that."""

    admitted: int
    why: str = ""
    since: float = 0.0
    """The time since which there has been room for more without a break."""
    pause_s: float = RISE_S
    rose: bool = False
    """Set if the limit has risen since it last fell."""


def follow(limit: Limit, load: Load, bounds: Bounds, now: float) -> Limit:
    """The limit after one more look at the machine; pure."""
    number, why = fitting(load, bounds, FALL)
    if number < limit.admitted:
        # A rise that has to be taken back was too soon: the next one waits longer.
        pause_s = min(limit.pause_s * 2, LONGEST_RISE_S) if limit.rose else limit.pause_s
        return Limit(number, why, now, pause_s)
    roomy, why_not = fitting(load, bounds, RISE)
    if roomy <= limit.admitted:
        return dataclasses.replace(limit, since=now, why=why_not)
    if now - limit.since < limit.pause_s:
        return limit
    pause_s = max(limit.pause_s / 2, RISE_S) if limit.rose else limit.pause_s
    admitted = limit.admitted + 1
    why = limit.why if admitted < bounds.most else ""
    return Limit(admitted, why, now, pause_s, rose=True)


def warm_size(
    created: Sequence[float], start_s: float, now: float, *, least: int, most: int
) -> int:
    """Number of warm Chromes to keep; pure. The peak of the last ten minutes counts: the most
    creations (``created``, in order) within the time that it takes to replace one Chrome."""
    recent = [at for at in created if now - at <= _RECORD_S]
    window_s, first, peak = start_s + _PAUSE_S, 0, 0
    for last, at in enumerate(recent):
        while at - recent[first] > window_s:
            first += 1
        peak = max(peak, last - first + 1)
    return min(most, max(least, peak))


class Autoscale:
    """The limit and the reserve now; without ``dynamic_limits``, those of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._limit: Limit | None = None
        self._created: collections.deque[float] = collections.deque(maxlen=_RECORD)
        self._starts_s: collections.deque[float] = collections.deque(maxlen=_STARTS)

    def note_creation(self, now: float) -> None:
        """Note that a caller was admitted."""
        self._created.append(now)

    def note_start(self, took_s: float) -> None:
        """Note the seconds that a Chrome took until it was ready."""
        self._starts_s.append(took_s)

    def observe(self, load: Load | None, now: float) -> bool:
        """Move the limit after a look at the machine, without a load to that of the settings;
        return whether it has changed."""
        settings = self.settings
        limit = self._limit or Limit(settings.max_sessions, since=now)
        bounds = Bounds(settings.dynamic_floor, settings.max_sessions, settings.session_need_bytes)
        self._limit = None if load is None else follow(limit, load, bounds, now)
        return limit.admitted != (self._limit.admitted if self._limit else settings.max_sessions)

    @property
    def admitted(self) -> int:
        """Number of sessions admitted now."""
        if self._limit is None or not self.settings.dynamic_limits:
            return self.settings.max_sessions
        return min(self._limit.admitted, self.settings.max_sessions)

    @property
    def why(self) -> str:
        """Reason why not more are admitted; empty where there is none."""
        return self._limit.why if self._limit else ""

    def reserve(self, occupied: int, now: float) -> int:
        """Number of warm Chromes to keep now; never more than there are free slots."""
        settings = self.settings
        if not settings.dynamic_limits:
            return settings.warm_sessions
        start_s = sum(self._starts_s) / len(self._starts_s) if self._starts_s else 1.0
        least = min(1, settings.warm_sessions)
        size = warm_size(self._created, start_s, now, least=least, most=settings.warm_most)
        return min(size, max(0, self.admitted - occupied))
