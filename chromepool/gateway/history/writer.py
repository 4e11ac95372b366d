"""The journal: what became of sessions, kept across the daemon's restarts.

One thread writes, in batches, and nobody ever waits for it. When it cannot write (the disk is full,
the file is damaged or locked, the folder cannot be written to) sessions go on, the error is said
once, what is to be written waits, as far as there is room, and writing is tried again.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from chromepool.errors import ConfigError, HistoryUnavailable
from chromepool.gateway.history.database import (
    AlertRow,
    Bounds,
    EventRow,
    JournalFile,
    SessionRow,
    is_damage,
    put_aside,
)
from chromepool.gateway.history.queries import (
    AlertState,
    HistoryQuery,
    read_life,
    read_lives,
    read_notes,
    read_recollection,
)
from chromepool.gateway.log import get_logger

log = get_logger("chromepool.journal")

T = TypeVar("T")
_MOST_LIVES, _MOST_NOTES = 2000, 10_000
"""What waits at most; beyond that the oldest are given up."""
_GAP = 2 * _MOST_NOTES
"""By how much events of the next life are numbered higher: more than a killed daemon can have told
and not yet written."""
_LINGER_S = 0.05
"""Time for a batch to gather."""
_TRIM_S = 60.0
"""How often what is too old is looked for, when there is nothing to write."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_RETRY_S = 5.0
_MOST_READERS = 16
"""Questions at once: each may have to wait for whoever has locked the file."""


@dataclasses.dataclass(frozen=True, slots=True)
class JournalState:
    """How the journal is."""

    error: str = ""
    """Why it is not written now; empty when it is."""
    waiting: int = 0
    """Sessions and events that wait to be written."""
    dropped: int = 0
    """Those that were given up since the gateway started."""


class HistoryWriter:
    """Takes what is to be kept, at once, and answers questions about it."""

    def __init__(
        self,
        path: Path,
        bounds: Callable[[], Bounds],
        clock: Callable[[], float] = time.time,
        on_open: Callable[[int], None] = lambda last: None,
    ) -> None:
        """``clock`` gives seconds since 1970. ``on_open`` is called in the journal's thread, once,
        with the number that this life's events are to come after."""
        self._path, self._bounds, self._clock, self._on_open = path, bounds, clock, on_open
        self._lock = threading.Lock()  # held for moments only, never during I/O
        self._lives: dict[str, SessionRow] = {}
        self._notes: collections.deque[EventRow] = collections.deque()
        self._standing: Sequence[AlertRow] | None = None
        self._last = 0
        self._error, self._dropped, self._writing = "", 0, 0
        self._running: Sequence[str] = ()
        self._file: JournalFile | None = None
        self._begun = self._off = self._suspect = False
        self._readers = 0
        self._something, self._closing = threading.Event(), threading.Event()
        self.tried: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when the file is open, or could not be opened at once."""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._reader = concurrent.futures.ThreadPoolExecutor(1, "journal-reader")

    def start(self, running: Sequence[str] = ()) -> None:
        """Begins to write; ``on_open`` follows when the file is open. ``running``: ids of sessions
        that are not over, although nobody has written of late."""
        self._running = running
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Writes what waits, for so long at most; whether all is written. It blocks."""
        self._closing.set()
        self._something.set()
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._lives and not self._notes

    @property
    def state(self) -> JournalState:
        """How it is now."""
        with self._lock:
            waiting = len(self._lives) + len(self._notes) + self._writing
            return JournalState(self._error, waiting, self._dropped)

    # -- taking: never waits --

    def keep(self, life: SessionRow) -> None:
        """A session as it is now; what was kept of it before is replaced."""
        with self._lock:
            if self._off:
                return
            self._lives.pop(life.id, None)  # the newest is the last to be given up
            self._lives[life.id] = life
            self._bound()
        self._something.set()

    def note(self, note: EventRow) -> None:
        """An event."""
        with self._lock:
            if self._off:
                return
            self._notes.append(note)
            self._last = max(self._last, note.number)
            self._bound()
        self._something.set()

    def stand(self, alerts: Sequence[AlertRow]) -> None:
        """All alerts that are raised now; what was kept of them before is replaced."""
        self._standing = alerts
        self._something.set()

    def _bound(self) -> None:
        while len(self._lives) > _MOST_LIVES:
            del self._lives[next(iter(self._lives))]
            self._dropped += 1
        while len(self._notes) > _MOST_NOTES:
            self._notes.popleft()
            self._dropped += 1

    # -- the thread that writes --

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._off:
            closing = self._closing.is_set()  # asked before, so that nothing comes after the last
            done = self._write(closing=closing)
            if not self.tried.done():
                self.tried.set_result(None)
            if closing:
                break
            if done:
                pause_s = _FIRST_PAUSE_S
                self._something.wait(_TRIM_S)
                self._closing.wait(_LINGER_S)
            else:
                self._closing.wait(pause_s)  # not for what comes: there is enough already
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        self._let_go()

    def _write(self, *, closing: bool) -> bool:
        """Writes what waits; False where it has to be tried again."""
        self._something.clear()
        with self._lock:
            lives, notes = self._lives, self._notes
            self._lives, self._notes = {}, collections.deque()
            self._writing = len(lives) + len(notes)
        try:
            file = self._open()
            last = self._last if closing else self._last + _GAP
            standing, now = self._standing, self._clock()
            file.write([*lives.values()], notes, last, self._bounds(), now, standing=standing)
        except ConfigError as error:
            self._turn_off(error)
        except Exception as error:
            self._let_go()
            if isinstance(error, sqlite3.OperationalError | OSError) or is_damage(error):
                self._put_back(lives, notes)
                self._failed(error)
                return False
            # A fault of ours must neither end the thread nor come again with each batch.
            log.exception("journal.batch_lost", lives=len(lives), events=len(notes))
            self._dropped += len(lives) + len(notes)
        else:
            self._recovered()
        self._writing = 0
        return True

    def _open(self) -> JournalFile:
        if self._suspect:  # opening looks at all of it
            self._let_go()
        if self._file is None:
            self._path.parent.stat()  # its error says more than SQLite's
            self._file, self._suspect = JournalFile(self._path), False
        if not self._begun:
            self._file.begin(self._clock(), self._running)
            with self._lock:
                self._last = max(self._last, self._file.meta("last_event"))
            self._on_open(self._last)
            self._begun = True
        return self._file

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put_back(self, lives: dict[str, SessionRow], notes: collections.deque[EventRow]) -> None:
        with self._lock:
            self._writing = 0
            self._lives = {**lives, **self._lives}
            self._notes.extendleft(reversed(notes))
            self._bound()

    def _turn_off(self, error: ConfigError) -> None:
        log.error("journal.off", error=error)
        with self._lock:
            self._off, self._error = True, str(error)
            self._lives.clear()
            self._notes.clear()

    def _failed(self, error: Exception) -> None:
        said = f"{self._path}: {getattr(error, 'strerror', None) or error}"
        if not self._error:
            log.error("journal.unwritable", error=said)
        self._error = said
        if is_damage(error):
            self._begun = False
            try:
                log.error("journal.put_aside", path=put_aside(self._path, self._clock()))
            except OSError as why:
                log.error("journal.not_put_aside", error=why)

    def _recovered(self) -> None:
        if self._error:
            log.warning("journal.writable", dropped=self._dropped)
            self._error = ""

    # -- questions --

    async def find(self, question: HistoryQuery) -> list[tuple[int, SessionRow]]:
        """Sessions and their cursors, the newest first. Raises :class:`HistoryUnavailable`."""
        return await self._read(lambda: read_lives(self._path, question))

    async def show(self, session_id: str) -> tuple[SessionRow, list[EventRow]] | None:
        """One session and its events. Raises :class:`HistoryUnavailable`."""
        return await self._read(lambda: read_life(self._path, session_id))

    async def told(self, after: int, before: int) -> list[EventRow]:
        """Events of numbers between these two, the first thousand. Raises
        :class:`HistoryUnavailable`."""
        return await self._read(lambda: read_notes(self._path, after, before))

    async def recall(self, since: float) -> AlertState:
        """What is to be known of the life before, endings since that time (seconds since 1970).
        Raises :class:`HistoryUnavailable`."""
        return await self._read(lambda: read_recollection(self._path, since))

    async def _read(self, read: Callable[[], T]) -> T:
        if self._off or self._closing.is_set():
            raise HistoryUnavailable(f"There is no journal: {self._error or 'it is closed'}.")
        if self._readers >= _MOST_READERS:
            raise HistoryUnavailable("The journal is asked too much.", retry_after_s=_RETRY_S)
        self._readers += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, read)
        except (sqlite3.Error, OSError, ValueError) as error:
            self._suspect = self._suspect or is_damage(error)
            self._something.set()
            said = f"The journal cannot be read: {error}."
            raise HistoryUnavailable(said, retry_after_s=_RETRY_S) from error
        finally:
            self._readers -= 1
