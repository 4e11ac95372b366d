"""Downloads of a session as they go on: which are complete, the limits, and what failed.

While a download is under way Chrome keeps its place with an empty file of its name, and has what
has come so far in another. Neither is shown: a list has files that are whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Coroutine
from typing import Any, Protocol

from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, ItemNotFound, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.sessions.events import Events
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import File

MOST = 100
"""Files that a session keeps, and downloads that are under way; the oldest go first."""
MOST_LARGEST = 10
"""Each of the two takes up to as much as so many files of ``download_bytes``."""
_NAME = 255
_OPEN = 1000
"""Downloads under way, and complete ones, that are remembered."""
_LOOKS = 5
"""Looks at a folder in which downloads begin and end all the time."""
_WORD_S = 2.0


@dataclasses.dataclass(slots=True)
class _Download:
    """One that is under way."""

    name: str
    size: int = 0
    """Bytes, as far as Chrome has said."""
    refused: str = ""
    """Why it is given up, if it is."""


class Pool(Protocol):
    """What is asked of the pool."""

    settings: Settings
    events: Events
    link: SupervisorClient

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
        self._under_way: dict[str, _Download] = {}
        """By guid, the newest last."""
        self._complete: dict[str, None] = {}
        """Names, the newest last."""
        self._changes = 0
        self._trimming = False

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
        if not self._under_way or name in self._complete:
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
        if not self._under_way or file.name in self._complete:
            return True
        return file.modified < self._session.created_at.timestamp()

    # -- what Chrome tells --

    def heard(self, params: dict[str, Any]) -> None:
        """``Browser.downloadWillBegin`` or ``Browser.downloadProgress``."""
        guid = str(params.get("guid"))
        if "suggestedFilename" in params:
            self._begin(guid, str(params["suggestedFilename"])[:_NAME])
            return
        state, path = params.get("state"), str(params.get("filePath", ""))
        download = self._under_way.get(guid)
        if download is None:  # begun under another gateway
            download = self._begin(guid, path.rpartition("/")[2])
        download.size = max(params.get("receivedBytes", 0), params.get("totalBytes", 0))
        most = self._pool.settings.download_bytes
        if download.size > most:
            self._refuse(guid, download, f"it is over {most} bytes")
        if state == "inProgress":
            self._make_room()
        elif state == "completed":  # maybe a small step from nothing to all of it
            self._complete_one(download, (path or download.name).rpartition("/")[2])
        if state in ("canceled", "completed"):
            self._over(guid, download, state == "canceled")

    def _begin(self, guid: str, name: str) -> _Download:
        self._changes += 1
        download = self._under_way[guid] = _Download(name)
        self._complete.pop(name, None)
        if len(self._under_way) > _OPEN:
            del self._under_way[next(iter(self._under_way))]
        return download

    def _make_room(self) -> None:
        """Gives up those that began first while there are too many or they take too much. One that
        Chrome never says is over is no longer counted then."""
        counted = [item for item in self._under_way.items() if not item[1].refused]
        total = sum(download.size for _, download in counted)
        while len(counted) > MOST or total > self._most_bytes:
            guid, first = counted.pop(0)
            total -= first.size
            self._refuse(guid, first, "the session's downloads take too much")

    @property
    def _most_bytes(self) -> int:
        return MOST_LARGEST * self._pool.settings.download_bytes

    def _refuse(self, guid: str, download: _Download, why: str) -> None:
        if not download.refused:
            download.refused = why
            self._pool.later(self._cancel(guid))

    def _complete_one(self, download: _Download, name: str) -> None:
        if download.refused:  # Chrome was faster
            self._pool.later(self._remove(name))
            return
        self._remember(name)
        if not self._trimming:
            self._trimming = True
            self._pool.later(self._trim())

    async def _trim(self) -> None:
        """Removes the oldest files that are complete, down to the limits."""
        try:
            for _ in range(_LOOKS):
                before = self._changes
                surplus = _surplus(await self.files(), self._most_bytes)
                if not surplus and self._changes == before:
                    break
                for file in surplus:
                    await self._remove(file.name)
                    self._complete.pop(file.name, None)
        except (BrowserGone, ItemNotFound):
            """The files went with the session."""
        finally:
            self._trimming = False

    def _remember(self, name: str) -> None:
        self._complete.pop(name, None)
        self._complete[name] = None
        if len(self._complete) > _OPEN:
            del self._complete[next(iter(self._complete))]

    def _over(self, guid: str, download: _Download, failed: bool) -> None:
        self._changes += 1
        self._under_way.pop(guid, None)
        if failed or download.refused:
            self._pool.events.emit(
                "session.download_failed",
                self._session.id,
                self._session.owner,
                file=download.name,
                why=download.refused or "Chrome gave it up",
            )

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(ItemNotFound):  # somebody was faster
            await self._pool.link.remove_file(self._session.key, name)

    async def _cancel(self, guid: str) -> None:
        with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):  # it was over just then
            await self._browser.call("Browser.cancelDownload", {"guid": guid})


def _surplus(files: list[File], most_bytes: int) -> list[File]:
    """Those beyond the limits, of files of which the newest come first."""
    found, total = [], 0
    for number, file in enumerate(files, 1):
        total += file.size
        if number > MOST or total > most_bytes:
            found.append(file)
    return found
