"""Downloads of a session: files in progress, complete files, their bounds, and failures. A list has
complete files only, neither the empty file with which Chrome reserves the name of a download in
progress nor the one to which it writes."""

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


@dataclasses.dataclass(eq=False)
class Downloads:
    """Follows the downloads of one session, and keeps them within their bounds."""

    runtime: Runtime
    key: int
    browser: Browser
    created_at: Callable[[], datetime.datetime]
    """Time since when the session has its owner: older files of a kept profile are complete."""
    on_failure: Callable[[str, str], None]
    """Called with the name of a download that failed, and the reason."""
    _in_progress: dict[str, _Download] = dataclasses.field(default_factory=dict)
    """Downloads by guid, the newest last."""
    _complete: dict[str, None] = dataclasses.field(default_factory=dict)
    """Names of complete files, the newest last."""
    _changes: int = 0
    _trimming: bool = False

    def __post_init__(self) -> None:
        self._largest_bytes = self.runtime.settings.download_bytes
        self._most_bytes = MOST_LARGEST * self._largest_bytes

    async def files(self) -> list[File]:
        """The complete files, the newest first. Raises :class:`BrowserGone`."""
        for _ in range(_LOOKS):
            before = self._changes
            files = await self.runtime.supervisor.list_files(self.key)
            await self._catch_up()
            if self._changes == before:  # the list and the events are of one moment
                break
        if not self._in_progress:
            return list(files)
        owned = self.created_at().timestamp()  # what is older was complete by then
        return [file for file in files if file.name in self._complete or file.modified < owned]

    async def check(self, name: str) -> None:
        """Raise :class:`ItemNotFound` for an incomplete file, and :class:`BrowserGone`."""
        await self._catch_up()
        if not self._in_progress or name in self._complete:
            return
        if name not in [file.name for file in await self.files()]:
            raise ItemNotFound("There is no such file, or it is not complete yet.")

    async def remove(self, name: str) -> None:
        """Remove a file; raise :class:`ItemNotFound`, :class:`BrowserGone`."""
        await self.runtime.supervisor.remove_file(self.key, name)
        self._complete.pop(name, None)

    async def _catch_up(self) -> None:
        """Wait for an answer of Chrome: the events before it have arrived by then."""
        with contextlib.suppress(CommandFailed, NoAnswer):
            await self.browser.call("Browser.getVersion", timeout_s=_WORD_S)

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
            self._changes += 1
            self._in_progress.pop(guid, None)
            if state == "canceled" or download.refused:
                self.on_failure(download.name, download.refused or "Chrome gave it up")

    def _begin(self, guid: str, name: str) -> _Download:
        self._changes += 1
        download = self._in_progress[guid] = _Download(name)
        self._complete.pop(name, None)
        if len(self._in_progress) > _OPEN:
            del self._in_progress[next(iter(self._in_progress))]
        return download

    def _make_room(self) -> None:
        """Cancel the oldest downloads while there are too many or they take too much: a download
        that Chrome never reports as over is no longer counted then."""
        counted = [item for item in self._in_progress.items() if not item[1].refused]
        total = sum(download.size for _, download in counted)
        while len(counted) > MOST or total > self._most_bytes:
            guid, first = counted.pop(0)
            total -= first.size
            self._refuse(guid, first, "the session's downloads take too much")

    def _refuse(self, guid: str, download: _Download, why: str) -> None:
        if not download.refused:
            download.refused = why
            self.runtime.tasks.start(self._cancel(guid))

    def _complete_one(self, download: _Download, name: str) -> None:
        if download.refused:  # Chrome was faster
            self.runtime.tasks.start(self._remove(name))
            return
        self._complete.pop(name, None)  # the newest is the last
        self._complete[name] = None
        if len(self._complete) > _OPEN:
            del self._complete[next(iter(self._complete))]
        if not self._trimming:
            self._trimming = True
            self.runtime.tasks.start(self._trim())

    async def _trim(self) -> None:
        """Remove the oldest complete files, down to the bounds."""
        try:
            for _ in range(_LOOKS):
                before = self._changes
                files = await self.files()
                totals = enumerate(itertools.accumulate(file.size for file in files))
                surplus = [files[n] for n, total in totals if n >= MOST or total > self._most_bytes]
                if not surplus and self._changes == before:
                    break
                for file in surplus:
                    await self._remove(file.name)
        except (BrowserGone, ItemNotFound):
            """The files went with the session."""
        finally:
            self._trimming = False

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(ItemNotFound):  # somebody was faster
            await self.remove(name)

    async def _cancel(self, guid: str) -> None:
        with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):  # it was over just then
            await self.browser.call("Browser.cancelDownload", {"guid": guid})
