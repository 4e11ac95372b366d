"""Alerts for the operator: rules as data, and the changes that follow from a snapshot."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from chromepool.config import Settings

WINDOW_S = 300.0
"""Time for which ended sessions and gateways count."""
_HYSTERESIS = 10.0
"""Difference in percent between the value that raises an alert and the one that clears it."""
_DISK_SHARE = 0.10
_DISK_BYTES = 500_000_000
_MEMORY_S = 10.0
"""Time for which memory has to be short: it is taken and given back in bursts."""
_MAX_RECENT = 10_000
_MAX_GATEWAY_DEATHS = 2
"""Deaths of the gateway that may be accidents."""


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the daemon at one moment. None is a value that this machine cannot measure."""

    sessions: int = 0
    max_sessions: int = 1
    memory: float | None = None
    """Share of the pool's memory that is used, from 0 to 1."""
    unhealthy: int = 0
    """Number of Chromes that were ended as unhealthy within the window."""
    crashed: int = 0
    """Number of sessions that crashed or ran out of memory within the window."""
    failed: int = 0
    """Number of gateways that died within the window."""
    canary: str | None = ""
    """Error of the last canary, empty if it passed or none is scheduled, None before the first."""
    breaker_open: bool = False
    failure: str = ""
    """Error of the last Chrome that did not start."""
    disk_free: int | None = None
    disk_size: int | None = None

    @property
    def disk(self) -> float | None:
        """Free space that there should be, divided by the free space; above 1 is too little."""
        if self.disk_free is None or not self.disk_size:
            return None
        wanted = max(_DISK_SHARE * self.disk_size, _DISK_BYTES)
        return wanted / max(1, self.disk_free)

    @property
    def disk_text(self) -> str:
        """Free space in words."""
        free = self.disk_free or 0
        size = self.disk_size or 1
        return f"{free // 1_000_000} MB ({free / size:.0%})"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """An alert, raised while ``reads`` is above ``raise_above``, cleared below ``clear_below``."""

    name: str
    reads: Callable[[Snapshot], float | None]
    text: str
    """Text for people; ``{value}`` is the value that was read, ``{at}`` the snapshot."""
    raise_above: float = 0
    clear_below: float = 1
    for_s: float = 0.0
    """Time for which the value has to be above before the alert is raised."""
    severity: Literal["warning", "critical"] = "critical"


_FIXED = (
    Rule(
        "unhealthy",
        lambda at: at.unhealthy,
        "{at.unhealthy} Chromes stopped answering and were ended within five minutes.",
    ),
    Rule(
        "gateway_crash_loop",
        lambda at: at.failed,
        "{at.failed} gateways died within five minutes. Sessions continue. "
        "The log says why the gateways died.",
        raise_above=_MAX_GATEWAY_DEATHS,
    ),
    Rule(
        "canary_failed",
        lambda at: None if at.canary is None else bool(at.canary),
        "The last canary failed: {at.canary}",
    ),
    Rule("breaker_open", lambda at: at.breaker_open, "Chrome keeps failing to start: {at.failure}"),
    Rule(
        "disk_low",
        lambda at: at.disk,
        "Only {at.disk_text} of the disk with the profiles is free.",
        raise_above=1,
        clear_below=2 / 3,  # 15 %, or 750 MB
    ),
)
"""Rules that no setting changes."""


def rules(settings: Settings) -> tuple[Rule, ...]:
    """Return all rules."""
    return (
        Rule(
            "pool_memory",
            lambda at: None if at.memory is None else at.memory * 100,
            "{value:.0f} % of the pool's memory is in use.",
            raise_above=settings.alert_memory_percent,
            clear_below=settings.alert_memory_percent - _HYSTERESIS,
            for_s=_MEMORY_S,
            severity="warning",
        ),
        Rule(
            "sessions",
            lambda at: at.sessions / at.max_sessions * 100,
            "{at.sessions} of {at.max_sessions} sessions are in use.",
            raise_above=settings.alert_sessions_percent,
            clear_below=settings.alert_sessions_percent - _HYSTERESIS,
            severity="warning",
        ),
        Rule(
            "crash_loop",
            lambda at: at.crashed,
            "{at.crashed} sessions crashed or ran out of memory within five minutes.",
            raise_above=settings.alert_crashes - 1,
            clear_below=max(1, settings.alert_crashes / 2),
        ),
        *_FIXED,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """Beginning or end of an alert."""

    rule: Rule
    text: str
    """Current text of the alert, or its last one."""
    lasted_s: float | None = None
    """Duration of an alert that has ended, None for one that begins."""


@dataclasses.dataclass(slots=True)
class _Active:
    """State of a rule whose value is above its threshold."""

    since: float
    """Time when the value exceeded the threshold, or when the alert was raised."""
    raised: bool = False
    text: str = ""


class Alerts:
    """Raises each alert once, and clears it once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._active: dict[str, _Active] = {}
        self.raised_total = collections.Counter({rule.name: 0 for rule in rules})
        """Number of times that each alert was raised, by its name."""

    @property
    def texts(self) -> dict[str, str]:
        """Current texts of the alerts that are raised, by name."""
        return {name: one.text for name, one in self._active.items() if one.raised}

    def resume(self, name: str, since: float, text: str) -> None:
        """Take over an alert of an earlier gateway; ``since`` is in monotonic seconds."""
        self._active[name] = _Active(since, raised=True, text=text)

    def step(self, snapshot: Snapshot, now: float) -> list[Change]:
        """Return the alerts that a snapshot raises and clears; ``now`` is in monotonic seconds."""
        found = [self._apply(rule, snapshot, now) for rule in self._rules]
        return [change for change in found if change is not None]

    def _apply(self, rule: Rule, snapshot: Snapshot, now: float) -> Change | None:
        value = rule.reads(snapshot)
        one = self._active.get(rule.name)
        if value is None:  # unknown: a raised alert stays, one that was about to be raised does not
            if one is not None and not one.raised:
                del self._active[rule.name]
            return None
        text = rule.text.format(value=value, at=snapshot)
        if one is not None and one.raised:
            if value < rule.clear_below:
                del self._active[rule.name]
                return Change(rule, one.text, now - one.since)
            one.text = text
            return None
        if value <= rule.raise_above:
            self._active.pop(rule.name, None)
            return None
        one = self._active.setdefault(rule.name, _Active(now))
        if now - one.since < rule.for_s:
            return None
        self._active[rule.name] = _Active(now, raised=True, text=text)
        self.raised_total[rule.name] += 1
        return Change(rule, text)


class Recent:
    """Counts what happened within the last ``window_s`` seconds."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._times: collections.deque[float] = collections.deque(maxlen=_MAX_RECENT)

    def add(self, now: float) -> None:
        """Record an occurrence."""
        self._times.append(now)

    def count(self, now: float) -> int:
        """Return the number of occurrences within the window."""
        while self._times and now - self._times[0] >= self._window_s:
            self._times.popleft()
        return len(self._times)
