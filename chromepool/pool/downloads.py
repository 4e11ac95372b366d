"""Downloads of a session as they go on: which are complete, the limit, and what failed.

While a download is under way Chrome keeps its place with an empty file of its name, and has what
has come so far in another. Neither is shown: a list has files that are whole.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Coroutine
from typing import Any, Protocol

from chromepool.browser.browser import Browser
from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, ItemNotFound, NoAnswer
from chromepool.model import File
from chromepool.pool.events import Events
from chromepool.pool.link import Link

_NAME = 255
_OPEN = 1000
"""Downloads under way, and complete ones, that are remembered."""
_LOOKS = 5
"""Looks at a folder in which downloads begin and end all the time."""
_WORD_S = 2.0


class Pool(Protocol):
    """What is asked of the pool."""

    settings: Settings
    events: Events
    link: Link

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work in the background."""


class Whose(Protocol):
    """What is asked of a session."""

    key: int
    id: str
    created_at: datetime.datetime

    @property
    def owner(self) -> str:
        """Who created it."""


class Downloads:
    """Hears of one session's."""

    def __init__(self, pool: Pool, session: Whose, browser: Browser) -> None:
        self._pool, self._session, self._browser = pool, session, browser
        self._names: dict[str, str] = {}
        """Of those under way, by guid."""
        self._complete: dict[str, None] = {}
        """Names, the newest last."""
        self._changes = 0
        self._cancelled: set[str] = set()

    # -- what there is --

    async def files(self) -> list[File]:
        """The complete ones, the newest first. Raises :class:`BrowserGone`."""
        for _ in range(_LOOKS):
            before = self._changes
            files = await self._pool.link.list_files(self._session.key)
            await self._hear_all()
            if self._changes == before:  # what was seen and what was heard are of one moment
                break
        return [file for file in files if self._is_complete(file)]

    async def check(self, name: str) -> None:
        """Raises :class:`ItemNotFound` for one that is not complete yet, :class:`BrowserGone`."""
        await self._hear_all()
        if not self._names or name in self._complete:
            return
        if name not in [file.name for file in await self.files()]:
            raise ItemNotFound("There is no such file, or it is not complete yet.")

    async def remove(self, name: str) -> None:
        """Removes one; raises :class:`ItemNotFound`, :class:`BrowserGone`."""
        await self._pool.link.remove_file(self._session.key, name)
        self._complete.pop(name, None)

    async def _hear_all(self) -> None:
        """What Chrome has said before it answers has been heard."""
        with contextlib.suppress(CommandFailed, NoAnswer):
            await self._browser.call("Browser.getVersion", timeout_s=_WORD_S)

    def _is_complete(self, file: File) -> bool:
        """Chrome has said so, or it is of an earlier life, or nothing is under way."""
        if not self._names or file.name in self._complete:
            return True
        return file.modified < self._session.created_at.timestamp()

    # -- what Chrome tells --

    def heard(self, params: dict[str, Any]) -> None:
        """``Browser.downloadWillBegin`` or ``Browser.downloadProgress``."""
        guid = str(params.get("guid"))
        if "suggestedFilename" in params:
            self._begin(guid, str(params["suggestedFilename"])[:_NAME])
            return
        size = max(params.get("receivedBytes", 0), params.get("totalBytes", 0))
        state = params.get("state")
        most = self._pool.settings.download_bytes
        name = str(params.get("filePath") or self._names.get(guid, "")).rpartition("/")[2]
        if state == "inProgress" and guid not in self._names:  # begun under another gateway
            self._begin(guid, name)
        if state == "inProgress" and size > most and guid not in self._cancelled:
            self._cancelled.add(guid)
            self._pool.later(self._cancel(guid))
        elif state == "completed" and size > most:  # a small step from nothing to all of it
            self._cancelled.add(guid)
            self._pool.later(self._remove(name))
        if state in ("canceled", "completed"):
            if state == "completed" and guid not in self._cancelled:
                self._remember(name)
            self._over(guid, state == "canceled", most)

    def _begin(self, guid: str, name: str) -> None:
        self._changes += 1
        self._names[guid] = name
        self._complete.pop(name, None)
        if len(self._names) > _OPEN:
            del self._names[next(iter(self._names))]

    def _remember(self, name: str) -> None:
        self._complete.pop(name, None)
        self._complete[name] = None
        if len(self._complete) > _OPEN:
            del self._complete[next(iter(self._complete))]

    def _over(self, guid: str, failed: bool, most: int) -> None:
        self._changes += 1
        name, too_large = self._names.pop(guid, ""), guid in self._cancelled
        self._cancelled.discard(guid)
        if failed or too_large:
            why = f"it is over {most} bytes" if too_large else "Chrome gave it up"
            self._pool.events.emit(
                "session.download_failed",
                self._session.id,
                self._session.owner,
                file=name,
                why=why,
            )

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(ItemNotFound):  # somebody was faster
            await self._pool.link.remove_file(self._session.key, name)

    async def _cancel(self, guid: str) -> None:
        with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):  # it was over just then
            await self._browser.call("Browser.cancelDownload", {"guid": guid})
