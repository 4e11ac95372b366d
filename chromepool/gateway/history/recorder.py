"""What goes into the journal: each event, and each session that somebody had."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from chromepool.errors import HistoryUnavailable, SessionNotFound
from chromepool.gateway.event_stream import Event
from chromepool.gateway.history.database import Bounds, EventRow, SessionRow
from chromepool.gateway.history.queries import AlertState
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.session import POOL, Session

log = get_logger("chromepool.journal")

_KEPT_OF = frozenset({"session.created", "session.closed"})
"""The events at which a session is written down."""
_OPEN_S = 5.0
"""A file that takes longer to open is waited for no more; it opens while sessions begin."""
_RECALL_S = 2.0
"""Nor is what it knows."""
_LAST_WORDS = 1000
_MOST_TEXT = 1000


def _usage(session: Session) -> dict[str, Any]:
    traffic = session.browser.traffic if session.browser else session.traffic
    said = {f"cdp_{name}": value for name, value in dataclasses.asdict(traffic).items()}
    return dataclasses.asdict(session.usage) | said


def _exit(session: Session) -> dict[str, Any] | None:
    if session.exit is None:
        return None
    return dataclasses.asdict(session.exit) | {"stderr": session.exit.stderr[-_LAST_WORDS:]}


def life_of(session: Session) -> SessionRow:
    """A session as plain data, as the journal takes it."""
    ended = session.ended_at
    return SessionRow(
        id=session.id,
        owner=session.owner,
        labels=session.spec.labels,
        created_at=session.created_at.timestamp(),
        limits=dataclasses.asdict(session.limits),
        warm=session.warm,
        ended_at=None if ended is None else ended.timestamp(),
        reason=session.reason,
        detail=session.detail[:_MOST_TEXT],
        usage=None if ended is None else _usage(session),
        exit=_exit(session),
    )


class HistoryRecorder:
    """Writes the journal as things happen, and numbers events on from the last life's."""

    def __init__(self, runtime: Runtime, find: Callable[[str], Session]) -> None:
        self._runtime = runtime
        self._find = find
        path = runtime.settings.history_dir / "journal.db"
        self._loop = asyncio.get_running_loop()
        self.journal = HistoryWriter(path, self._bounds, on_open=self._on_open)

    def _bounds(self) -> Bounds:
        settings = self._runtime.settings
        return Bounds(settings.journal_sessions, settings.journal_days)

    async def start(self, adopted: Sequence[str] = ()) -> None:
        """Opens the journal; one that does not open keeps nobody waiting for long. ``adopted``:
        sessions of the gateway before that go on."""
        self.journal.start(adopted)
        try:
            async with asyncio.timeout(_OPEN_S):
                await asyncio.shield(asyncio.wrap_future(self.journal.tried))
        except TimeoutError:
            log.error("journal.late")

    async def recall(self, within_s: float) -> AlertState:
        """What is known of the life before, with the sessions that ended within so long; nothing
        where the journal cannot be read, or not at once."""
        try:
            async with asyncio.timeout(_RECALL_S):
                return await self.journal.recall(time.time() - within_s)
        except (HistoryUnavailable, TimeoutError) as error:
            if not self.journal.state.error:  # which is said already
                log.warning("journal.not_recalled", error=str(error) or "it takes too long")
            return AlertState([], [])

    async def close(self, timeout_s: float) -> None:
        """Writes what is left, for so long at most."""
        if not await asyncio.to_thread(self.journal.close, timeout_s):
            state = self.journal.state
            log.error("journal.unfinished", waiting=state.waiting, error=state.error)

    def _on_open(self, last: int) -> None:
        self._loop.call_soon_threadsafe(self._runtime.events.number_on, last)

    def on_event(self, event: Event) -> None:
        """Writes an event, and the session that was created or closed by it."""
        if event.name in _KEPT_OF and event.session_id is not None and event.owner != POOL:
            try:
                self.journal.keep(life_of(self._find(event.session_id)))
            except SessionNotFound:
                log.debug("journal.session_forgotten")
        at = event.at.timestamp()
        fields = event.fields
        self.journal.note(
            EventRow(event.number, at, event.name, event.session_id, event.owner, fields)
        )
