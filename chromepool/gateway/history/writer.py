"""Rows on their way to the history's database, and queries to it.

The event loop never waits for the disk: every call to SQLite runs in a daemon thread, for which
the end of the process does not wait either. Sessions go on while the database cannot be written
(the disk is full or hangs, the file is damaged or locked, the folder is read-only): the error is
logged once, rows wait up to a limit, and writing is tried again.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection
from typing import Any, TypeVar, TypeVarTuple

from chromepool.errors import ConfigError, HistoryUnavailable
from chromepool.gateway.event_stream import Event
from chromepool.gateway.history.database import Database, is_damage
from chromepool.gateway.history.queries import AlertState, alert_state, connect
from chromepool.gateway.log import get_logger
from chromepool.gateway.runtime import is_set
from chromepool.schema.admin import AlertView
from chromepool.schema.history import PastSession

log = get_logger("chromepool.journal")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Rows that wait to be written, at most.
_MAX_SESSIONS = 2000
_MAX_EVENTS = 10_000
# A gateway that is killed has published fewer events than this without writing them.
_GAP = 2 * _MAX_EVENTS
# A batch gathers for so long; without rows, old ones are deleted every minute.
_LINGER_S = 0.05
_TRIM_S = 60.0
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 10.0
# A disk that is slower does not delay the start of the gateway.
_OPEN_S = 5.0
_RECALL_S = 2.0
# Each query may wait for a lock on the file, in a thread of its own.
_MAX_QUERIES = 16
_RETRY_AFTER_S = 5.0


async def _in_thread(function: Callable[[*Ts], T], *values: *Ts) -> T:
    """Call a function in a daemon thread, since the process waits for those of an executor."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()  # a function that runs cannot be cancelled

    def work() -> None:
        try:
            future.set_result(function(*values))
        except Exception as error:
            future.set_exception(error)

    try:
        threading.Thread(target=work, name="history", daemon=True).start()
    except RuntimeError as error:  # the system has no thread left, which may pass
        raise OSError(str(error)) from error
    return await asyncio.wrap_future(future)


def _remove(batch: dict[Any, T], rows: dict[Any, T]) -> int:
    """Remove a batch, except for rows that were replaced; return how many were dropped before."""
    missing = batch.keys() - rows.keys()
    for key, row in batch.items():
        if rows.get(key) is row:
            del rows[key]
    return len(missing)


class HistoryWriter:
    """Takes rows at once, writes them in batches, and runs queries."""

    def __init__(self, database: Database) -> None:
        self.error = ""
        """Reason why rows cannot be written; empty if they can."""
        self.dropped = 0
        """Number of rows that were given up since the gateway started."""
        self._database = database
        self._sessions: collections.OrderedDict[str, PastSession] = collections.OrderedDict()
        self._events: collections.OrderedDict[int, Event] = collections.OrderedDict()
        self._alerts: Collection[AlertView] | None = None
        self._off = False
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._queries = threading.BoundedSemaphore(_MAX_QUERIES)

    async def start(self, running: Collection[str] = ()) -> int:
        """Open the database, and return the number of the last event in it; 0 if that takes long.
        ``running`` has the ids of adopted sessions, which are not marked as lost."""
        self._task = asyncio.create_task(self._run(running))
        if not await is_set(self._tried, _OPEN_S):
            log.error("journal.late")
        return self._database.last

    async def close(self, timeout_s: float) -> None:
        """Write the rows that wait, within ``timeout_s``, and take no more queries."""
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_s)
        if self.waiting:
            log.error("journal.unfinished", waiting=self.waiting, error=self.error)

    @property
    def waiting(self) -> int:
        """Number of sessions and events that wait to be written."""
        return len(self._sessions) + len(self._events)

    def put_session(self, row: PastSession) -> None:
        """Write a session as it is now, in place of what was written of it before."""
        self._put(self._sessions, row.id, row, _MAX_SESSIONS)

    def add_event(self, row: Event) -> None:
        """Write an event."""
        self._put(self._events, row.number, row, _MAX_EVENTS)

    def set_alerts(self, rows: Collection[AlertView]) -> None:
        """Write all raised alerts, in place of those that were written before."""
        self._alerts = rows
        self._wake.set()

    def _put(self, rows: collections.OrderedDict[Any, T], key: Any, row: T, most: int) -> None:
        if self._off:
            return
        rows[key] = row
        rows.move_to_end(key)
        if len(rows) > most:
            rows.popitem(last=False)
            self.dropped += 1
        self._wake.set()

    async def _run(self, running: Collection[str]) -> None:
        retry_s = _FIRST_RETRY_S
        while not self._off:
            closing = self._closing.is_set()
            self._wake.clear()
            written = await self._write_batch(running, 0 if closing else _GAP)
            self._tried.set()
            if closing:
                break
            if written:
                retry_s = _FIRST_RETRY_S
                await is_set(self._wake, _TRIM_S)
                await is_set(self._closing, _LINGER_S)
            else:
                await is_set(self._closing, retry_s)
                retry_s = min(_LAST_RETRY_S, 2 * retry_s)
        await _in_thread(self._database.close)

    async def _write_batch(self, running: Collection[str], gap: int) -> bool:
        """Write the rows that wait, or give them up; False if another try may succeed."""
        sessions = dict(self._sessions)
        events = dict(self._events)
        batch = (list(sessions.values()), list(events.values()), self._alerts, running, gap)
        try:
            await _in_thread(self._database.write, *batch)
        except ConfigError as error:
            log.error("journal.off", error=error)
            self.error = str(error)
            self._off = True
            self._sessions.clear()
            self._events.clear()
            return True
        except (sqlite3.OperationalError, OSError) as error:
            self._report(f"{self._database.path}: {getattr(error, 'strerror', None) or error}")
            return False
        except Exception:  # a row that is refused must not come again with every batch
            log.exception("journal.batch_lost", sessions=len(sessions), events=len(events))
            self.dropped += len(sessions) + len(events)
        else:
            self._report("")
        # Rows that were dropped while they were written are not lost, or were counted twice.
        self.dropped -= _remove(sessions, self._sessions) + _remove(events, self._events)
        return True

    def _report(self, error: str) -> None:
        if error and not self.error:
            log.error("journal.unwritable", error=error)
        if self.error and not error:
            log.warning("journal.writable", dropped=self.dropped)
        self.error = error

    async def alert_state(self, since: float) -> AlertState:
        """Return the alerts of the gateway before, and the endings since then (seconds since 1970);
        nothing if the database does not answer soon."""
        try:
            async with asyncio.timeout(_RECALL_S):
                return await self.read(alert_state, since)
        except (HistoryUnavailable, TimeoutError) as error:
            if not self.error:  # else the reason is logged already
                log.warning("journal.not_recalled", error=str(error) or "it takes too long")
            return AlertState([], [])

    async def read(self, query: Callable[[sqlite3.Connection, *Ts], T], *values: *Ts) -> T:
        """Run one of the :mod:`.queries`; raises :class:`HistoryUnavailable`."""
        if self._off or self._closing.is_set():
            reason = self.error if self._off else "The gateway is stopping."
            raise HistoryUnavailable(f"The journal is closed. {reason}")
        try:
            return await _in_thread(self._query, query, *values)
        except (sqlite3.Error, OSError, ValueError) as error:
            if is_damage(error):
                self._database.is_suspect = True
                self._wake.set()
            detail = f"The journal cannot be read: {error}."
            raise HistoryUnavailable(detail, retry_after_s=_RETRY_AFTER_S) from error

    def _query(self, query: Callable[[sqlite3.Connection, *Ts], T], *values: *Ts) -> T:
        if not self._queries.acquire(blocking=False):
            detail = f"The journal is busy with {_MAX_QUERIES} other queries."
            raise HistoryUnavailable(detail, retry_after_s=_RETRY_AFTER_S)
        try:
            with contextlib.closing(connect(self._database.path)) as db:
                return query(db, *values)
        finally:
            self._queries.release()
