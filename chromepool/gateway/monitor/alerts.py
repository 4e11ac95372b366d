"""When to call the operator: rules as data, and what follows from a look at the daemon.

Nothing here reads anything or knows what time it is.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Literal

from chromepool.config import Settings

Severity = Literal["warning", "critical"]
WINDOW_S = 300.0
"""How long ends of sessions count."""
WARNING: Severity = "warning"
CRITICAL: Severity = "critical"
_LESS = 10.0
"""Percent below what raised an alert, where it is cleared."""
_DISK_SHARE, _DISK_BYTES = 0.10, 500_000_000
_MEMORY_S = 10.0
"""Memory is taken and given back in bursts."""
_SOME = 10_000
_GATEWAYS = 3
"""Deaths of the gateway that are no accident any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """A condition that an operator should look at, for as long as it lasts."""

    name: str
    severity: Severity
    since: datetime.datetime
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon at one moment; None where nothing can tell."""

    sessions: int = 0
    max_sessions: int = 1
    memory: float | None = None
    """How much of the pool's memory is used, 1 is all."""
    unhealthy: int = 0
    """Chromes ended as unhealthy,"""
    crashed: int = 0
    """and sessions that crashed or ran out of memory, within the window."""
    failed: int = 0
    """Gateways that died, within the window."""
    canary: str | None = ""
    """Why the last canary did not come back; empty: it did, or none is to fly; None: it is to."""
    breaker_open: bool = False
    failure: str = ""
    """What Chrome said when it last did not start."""
    disk_free: int | None = None
    disk_size: int | None = None

    @property
    def disk(self) -> float | None:
        """How many times less is free than should be: above 1 is too little."""
        if self.disk_free is None or not self.disk_size:
            return None
        wanted = max(_DISK_SHARE * self.disk_size, _DISK_BYTES)
        return wanted / max(1, self.disk_free)

    @property
    def disk_said(self) -> str:
        """What is free, for people."""
        free, size = self.disk_free or 0, self.disk_size or 1
        return f"{free // 1_000_000} MB ({free / size:.0%})"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """Raised while ``reads`` is above ``raise_above``, cleared when it is below ``clear_below``."""

    name: str
    severity: Severity
    reads: Callable[[Snapshot], float | None]
    raise_above: float
    clear_below: float
    text: str
    """What people are told; ``{value}`` is what was read, ``{at.…}`` the snapshot."""
    for_s: float = 0.0
    """How long it has to last before it is raised."""


def _deaths(settings: Settings) -> tuple[Rule, ...]:
    """Of what should live."""
    return (
        Rule(
            "unhealthy",
            CRITICAL,
            lambda at: at.unhealthy,
            0,
            1,
            "{at.unhealthy} Chromes did not answer any more and were ended, within five minutes.",
        ),
        Rule(
            "crash_loop",
            CRITICAL,
            lambda at: at.crashed,
            settings.alert_crashes - 1,
            max(1, settings.alert_crashes / 2),
            "{at.crashed} sessions crashed within five minutes.",
        ),
        Rule(
            "gateway_crash_loop",
            CRITICAL,
            lambda at: at.failed,
            _GATEWAYS - 1,
            1,
            "{at.failed} gateways died within five minutes. Sessions go on; see the log for why.",
        ),
    )


def rules(settings: Settings) -> tuple[Rule, ...]:
    """All there are."""
    memory, sessions = settings.alert_memory_percent, settings.alert_sessions_percent
    return (
        Rule(
            "pool_memory",
            WARNING,
            lambda at: None if at.memory is None else at.memory * 100,
            memory,
            memory - _LESS,
            "{value:.0f} % of the pool's memory is in use.",
            for_s=_MEMORY_S,
        ),
        Rule(
            "sessions",
            WARNING,
            lambda at: at.sessions / at.max_sessions * 100,
            sessions,
            sessions - _LESS,
            "{at.sessions} of {at.max_sessions} sessions are in use.",
        ),
        *_deaths(settings),
        Rule(
            "canary_failed",
            CRITICAL,
            lambda at: None if at.canary is None else bool(at.canary),
            0,
            1,
            "The last canary failed: {at.canary}",
        ),
        Rule(
            "breaker_open",
            CRITICAL,
            lambda at: at.breaker_open,
            0,
            1,
            "Chrome keeps failing to start: {at.failure}",
        ),
        Rule(
            "disk_low",
            CRITICAL,
            lambda at: at.disk,
            1,
            2 / 3,  # 15 %, or 750 MB
            "{at.disk_said} free where the profiles lie.",
        ),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Raised:
    """An alert begins."""

    rule: Rule
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cleared:
    """It is over."""

    rule: Rule
    text: str
    """What it said when it was last looked at."""
    lasted_s: float


@dataclasses.dataclass(slots=True)
class _Standing:
    """One rule that is not at rest."""

    since: float
    """When it went above, or was raised."""
    raised: bool = False
    text: str = ""


class Alerts:
    """Raises each alert once, and clears it once."""

    def __init__(self, table: Callable[[], Sequence[Rule]]) -> None:
        """``table`` gives the rules of now: SIGHUP may move thresholds."""
        self._table = table
        self._standing: dict[str, _Standing] = {}
        names = [rule.name for rule in table()]
        self.raised_total = collections.Counter(dict.fromkeys(names, 0))
        """How often each was raised, by its name."""

    @property
    def texts(self) -> dict[str, str]:
        """Those that are raised, and what each says now."""
        return {name: one.text for name, one in self._standing.items() if one.raised}

    def resume(self, name: str, since: float, text: str) -> None:
        """An earlier gateway has raised it, then (monotonic seconds; may be below 0)."""
        self._standing[name] = _Standing(since, raised=True, text=text)

    def step(self, snapshot: Snapshot, now: float) -> list[Raised | Cleared]:
        """What has changed by this look at the daemon; ``now`` is in monotonic seconds."""
        found = [self._apply(rule, snapshot, now) for rule in self._table()]
        return [change for change in found if change is not None]

    def _apply(self, rule: Rule, snapshot: Snapshot, now: float) -> Raised | Cleared | None:
        value, one = rule.reads(snapshot), self._standing.get(rule.name)
        if value is None:  # nothing is known: what was raised stays, what was about to be does not
            if one is not None and not one.raised:
                del self._standing[rule.name]
            return None
        if one is not None and one.raised:
            return self._keep(rule, one, value, snapshot, now)
        if value <= rule.raise_above:
            self._standing.pop(rule.name, None)
            return None
        one = self._standing.setdefault(rule.name, _Standing(now))
        if now - one.since < rule.for_s:
            return None
        one.raised, one.since, one.text = True, now, rule.text.format(value=value, at=snapshot)
        self.raised_total[rule.name] += 1
        return Raised(rule, one.text)

    def _keep(
        self, rule: Rule, one: _Standing, value: float, snapshot: Snapshot, now: float
    ) -> Cleared | None:
        if value < rule.clear_below:
            del self._standing[rule.name]
            return Cleared(rule, one.text, now - one.since)
        one.text = rule.text.format(value=value, at=snapshot)
        return None


class Recent:
    """Counts what happened within the last while."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._times: collections.deque[float] = collections.deque(maxlen=_SOME)

    def add(self, now: float) -> None:
        """It happened."""
        self._times.append(now)

    def count(self, now: float) -> int:
        """How often it has happened."""
        while self._times and now - self._times[0] >= self._window_s:
            self._times.popleft()
        return len(self._times)
