"""Downloads of a session: files in progress, complete files, their bounds, and failures.

While a download is in progress, Chrome reserves its name with an empty file and writes to another
one. Neither is listed: a list has complete files only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Callable
from typing import Any

from chromepool.errors import BrowserGone, CommandFailed, ItemNotFound, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.runtime import Runtime
from chromepool.model import File

MOST = 100
"""Complete files of a session at most, and downloads in progress; the oldest go first."""
MOST_LARGEST = 10
"""Times ``download_bytes`` that all complete files, or all in progress, may take together."""
_NAME = 255
_OPEN = 1000
"""Downloads in progress, and complete ones, that are tracked at most."""
_LOOKS = 5
"""Attempts to list a folder in which downloads begin and end all the time."""
_WORD_S = 2.0


@dataclasses.dataclass(slots=True)
class _Download:
    """A download in progress."""

    name: str
    size: int = 0
    """Bytes, as far as Chrome has reported."""
    refused: str = ""
    """Reason why it is cancelled; empty: it is not."""


class Downloads:
    """Follows the downloads of one session, and keeps them within their bounds."""

    def __init__(
        self,
        runtime: Runtime,
        key: int,
        browser: Browser,
        created_at: Callable[[], datetime.datetime],
        on_failure: Callable[[str, str], None],
    ) -> None:
        """``created_at`` tells since when the session has its owner: older files of a kept profile
        are complete. ``on_failure`` is given the name of a download that failed, and why."""
        self._supervisor = runtime.supervisor
        self._tasks = runtime.tasks
        self._largest_bytes = runtime.settings.download_bytes
        self._most_bytes = MOST_LARGEST * self._largest_bytes
        self._key = key
        self._browser = browser
        self._created_at = created_at
        self._on_failure = on_failure
        self._in_progress: dict[str, _Download] = {}
        """Downloads by guid, the newest last."""
        self._complete: dict[str, None] = {}
        """Names of complete files, the newest last."""
        self._changes = 0
        self._trimming = False

    # -- files --

    async def files(self) -> list[File]:
        """The complete files, the newest first. Raises :class:`BrowserGone`."""
        for _ in range(_LOOKS):
            before = self._changes
            files = await self._supervisor.list_files(self._key)
            await self._catch_up()
            if self._changes == before:  # the list and the events are of one moment
                break
        return [file for file in files if self._is_complete(file)]

    async def check(self, name: str) -> None:
        """Raise :class:`ItemNotFound` for an incomplete file, and :class:`BrowserGone`."""
        await self._catch_up()
        if not self._in_progress or name in self._complete:
            return
        if name not in [file.name for file in await self.files()]:
            raise ItemNotFound("There is no such file, or it is not complete yet.")

    async def remove(self, name: str) -> None:
        """Remove a file; raise :class:`ItemNotFound`, :class:`BrowserGone`."""
        await self._supervisor.remove_file(self._key, name)
        self._complete.pop(name, None)

    async def _catch_up(self) -> None:
        """Wait for an answer of Chrome: the events before it have arrived by then."""
        with contextlib.suppress(CommandFailed, NoAnswer):
            await self._browser.call("Browser.getVersion", timeout_s=_WORD_S)

    def _is_complete(self, file: File) -> bool:
        """Return whether a file is complete, by Chrome's word or by its age."""
        if not self._in_progress or file.name in self._complete:
            return True
        return file.modified < self._created_at().timestamp()

    # -- events of Chrome --

    def on_event(self, params: dict[str, Any]) -> None:
        """Take ``Browser.downloadWillBegin`` or ``Browser.downloadProgress``."""
        guid = str(params.get("guid"))
        if "suggestedFilename" in params:
            self._begin(guid, str(params["suggestedFilename"])[:_NAME])
            return
        state, path = params.get("state"), str(params.get("filePath", ""))
        download = self._in_progress.get(guid)
        if download is None:  # begun under another gateway
            download = self._begin(guid, path.rpartition("/")[2])
        download.size = max(params.get("receivedBytes", 0), params.get("totalBytes", 0))
        if download.size > self._largest_bytes:
            self._refuse(guid, download, f"it is over {self._largest_bytes} bytes")
        if state == "inProgress":
            self._make_room()
        elif state == "completed":  # maybe a small step from nothing to all of it
            self._complete_one(download, (path or download.name).rpartition("/")[2])
        if state in ("canceled", "completed"):
            self._over(guid, download, state == "canceled")

    def _begin(self, guid: str, name: str) -> _Download:
        self._changes += 1
        download = self._in_progress[guid] = _Download(name)
        self._complete.pop(name, None)
        if len(self._in_progress) > _OPEN:
            del self._in_progress[next(iter(self._in_progress))]
        return download

    def _make_room(self) -> None:
        """Cancel the oldest downloads while there are too many or they take too much.

        A download that Chrome never reports as over is no longer counted then.
        """
        counted = [item for item in self._in_progress.items() if not item[1].refused]
        total = sum(download.size for _, download in counted)
        while len(counted) > MOST or total > self._most_bytes:
            guid, first = counted.pop(0)
            total -= first.size
            self._refuse(guid, first, "the session's downloads take too much")

    def _refuse(self, guid: str, download: _Download, why: str) -> None:
        if not download.refused:
            download.refused = why
            self._tasks.start(self._cancel(guid))

    def _complete_one(self, download: _Download, name: str) -> None:
        if download.refused:  # Chrome was faster
            self._tasks.start(self._remove(name))
            return
        self._complete.pop(name, None)  # the newest is the last
        self._complete[name] = None
        if len(self._complete) > _OPEN:
            del self._complete[next(iter(self._complete))]
        if not self._trimming:
            self._trimming = True
            self._tasks.start(self._trim())

    async def _trim(self) -> None:
        """Remove the oldest complete files, down to the bounds."""
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

    def _over(self, guid: str, download: _Download, failed: bool) -> None:
        self._changes += 1
        self._in_progress.pop(guid, None)
        if failed or download.refused:
            self._on_failure(download.name, download.refused or "Chrome gave it up")

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(ItemNotFound):  # somebody was faster
            await self._supervisor.remove_file(self._key, name)

    async def _cancel(self, guid: str) -> None:
        with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):  # it was over just then
            await self._browser.call("Browser.cancelDownload", {"guid": guid})


def _surplus(files: list[File], most_bytes: int) -> list[File]:
    """The files beyond the bounds; the newest come first."""
    totals = enumerate(itertools.accumulate(file.size for file in files))
    return [files[n] for n, total in totals if n >= MOST or total > most_bytes]
