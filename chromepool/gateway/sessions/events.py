"""What happens to sessions, told to whoever listens, and kept for those who come a little later."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Any, Literal

from chromepool.gateway.store.ring import Ring

_KEPT = 1000
_KEPT_BYTES = 4 << 20
_EVENT_BYTES = 1024
_BEHIND = 1000
"""Events that wait for a listener; one that is further behind is dropped, and comes again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    number: int
    at: datetime.datetime
    name: str
    """Such as ``session.created``; all are listed in docs/reference/api.md."""
    session_id: str | None = None
    owner: str | None = None
    """Whose it is to know, beside administrators; None: theirs alone."""
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)


Severity = Literal["warning", "critical"]


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """Something an operator should look at, for as long as it lasts."""

    name: str
    severity: Severity
    since: datetime.datetime
    text: str


class Listener:
    """Events for one that listens, in order. Ends (None) when it is too far behind."""

    def __init__(self, missed: list[Event]) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(_BEHIND + 1)
        for event in missed[-_BEHIND:]:
            self._queue.put_nowait(event)

    def tell(self, event: Event) -> bool:
        """Whether it keeps up."""
        if self._queue.qsize() >= _BEHIND:
            self._queue.put_nowait(None)
            return False
        self._queue.put_nowait(event)
        return True

    async def next(self, timeout_s: float) -> Event | None:
        """The next one, None at the end; raises TimeoutError when there is none for so long."""
        async with asyncio.timeout(timeout_s):
            return await self._queue.get()


class Events:
    """The last thousand, and those who listen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._kept: Ring[Event] = Ring(_KEPT, _KEPT_BYTES, clock)
        self._listeners: list[Listener] = []
        self._watchers: list[Callable[[Event], None]] = []
        self._last = 0
        self._held: list[Event] | None = None

    @property
    def last(self) -> int:
        """Number of the newest."""
        return self._last

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def first(self) -> int:
        """Number of the oldest that is kept; where none is, the next one's."""
        return next((event.number for _, event in self._kept), self._last + 1)

    @property
    def holding(self) -> bool:
        """Whether events wait for their numbers."""
        return self._held is not None

    def hold(self) -> None:
        """Events wait for :meth:`number_on` from here on."""
        self._held = []

    def number_on(self, last: int) -> None:
        """The next events come after ``last``: clients of an earlier life know numbers up to it.
        Where nobody knows how many it told of (0), they are numbered from the time, in
        milliseconds: it can't have told of as many."""
        held, self._held = self._held, None
        if held is None:  # events have numbers already, which must not jump
            self._last = max(self._last, last)
            return
        self._last = max(self._last, last or time.time_ns() // 1_000_000)
        for event in held:
            self._tell(event)

    def watch(self, watcher: Callable[[Event], None]) -> None:
        """``watcher`` is called with each event, for as long as the gateway lives."""
        self._watchers.append(watcher)

    def emit(
        self, name: str, session_id: str | None = None, owner: str | None = None, **fields: Any
    ) -> None:
        """Tells of one."""
        now = datetime.datetime.now(datetime.UTC)
        event = Event(0, now, name, session_id, owner, fields)
        if self._held is None:
            self._tell(event)
        else:
            self._held.append(event)

    def _tell(self, unnumbered: Event) -> None:
        self._last += 1
        event = dataclasses.replace(unnumbered, number=self._last)
        self._kept.add(event, _EVENT_BYTES)
        self._listeners = [one for one in self._listeners if one.tell(event)]
        for watcher in self._watchers:
            watcher(event)

    def listen(self, after: int | None) -> Listener:
        """Listens from now on, or from the event after that number, if it is kept still."""
        missed = [] if after is None else [e for _, e in self._kept if e.number > after]
        listener = Listener(missed)
        self._listeners.append(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Listens no more. May be called twice."""
        if listener in self._listeners:
            self._listeners.remove(listener)
