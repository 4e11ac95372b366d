"""The numbered events of ``GET /v1/events``: the newest are kept for clients that come later."""

import asyncio
import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Any

from chromepool.gateway.store.ring import Ring

_KEPT = 1000
_KEPT_BYTES = 4 << 20
_EVENT_BYTES = 1024
_BEHIND = 1000
"""Events that wait for one listener at most; a slower one is dropped, and connects again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """An event in the life of a session or of the daemon."""

    number: int
    at: datetime.datetime
    name: str
    """``session.created``, for example; docs/reference/api.md lists them all."""
    session_id: str | None = None
    owner: str | None = None
    """The user who sees it besides administrators; None: administrators only."""
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)


class Listener:
    """A queue of events, in order, for one reader. Ends (None) when the reader is too slow."""

    def __init__(self, missed: list[Event]) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(_BEHIND + 1)
        for event in missed[-_BEHIND:]:
            self._queue.put_nowait(event)

    def put(self, event: Event) -> bool:
        """Add an event; False once the reader is too far behind."""
        is_behind = self._queue.qsize() >= _BEHIND
        self._queue.put_nowait(None if is_behind else event)
        return not is_behind

    async def next(self, timeout_s: float) -> Event | None:
        """The next event, None at the end; raises TimeoutError when none comes in time."""
        async with asyncio.timeout(timeout_s):
            return await self._queue.get()


class EventStream:
    """The last thousand events, and the listeners that are given each new one."""

    def __init__(self, clock: Callable[[], float], publish: Callable[[Event], None]) -> None:
        """``publish`` is given each event once it has its number."""
        self._publish = publish
        self._kept: Ring[Event] = Ring(_KEPT, _KEPT_BYTES, clock)
        self._listeners: list[Listener] = []
        self.last = 0
        """Number of the newest event."""
        self._held: list[Event] | None = None

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept; where none is, of the next one."""
        return next((event.number for _, event in self._kept), self.last + 1)

    def hold(self) -> None:
        """Hold events back until :meth:`number_on`: the history may know the numbers so far."""
        self._held = []

    def number_on(self, last: int) -> None:
        """Number events from ``last`` + 1 on, those that were held first: clients of an earlier
        gateway know numbers up to ``last``. Where nobody knows it (0), events are numbered from the
        time in milliseconds, since no earlier gateway can have emitted as many."""
        if self._held is not None:  # else events have numbers already, which must not jump
            last = last or time.time_ns() // 1_000_000
        self.last = max(self.last, last)
        held = self._held or ()
        self._held = None
        for event in held:
            self._number(event)

    def emit(
        self, name: str, session_id: str | None = None, owner: str | None = None, **fields: Any
    ) -> None:
        """Add an event, numbered at once unless events are held."""
        now = datetime.datetime.now(datetime.UTC)
        event = Event(0, now, name, session_id, owner, fields)
        if self._held is None:
            self._number(event)
        else:
            self._held.append(event)

    def _number(self, unnumbered: Event) -> None:
        self.last += 1
        event = dataclasses.replace(unnumbered, number=self.last)
        self._kept.add(event, _EVENT_BYTES)
        self._listeners = [one for one in self._listeners if one.put(event)]
        self._publish(event)

    def listen(self, after: int | None) -> Listener:
        """A listener from now on, or from the event after that number, as far as it is kept."""
        missed = [] if after is None else [e for _, e in self._kept if e.number > after]
        listener = Listener(missed)
        self._listeners.append(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Remove a listener. May be called twice."""
        if listener in self._listeners:
            self._listeners.remove(listener)
