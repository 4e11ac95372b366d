"""How many downloads a session keeps, without Chrome: each limit at its edge and one past it."""

from __future__ import annotations

import asyncio
import datetime
import types
from collections.abc import Coroutine
from typing import Any, cast

from chromepool.config import Settings
from chromepool.errors import ItemNotFound
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.downloads import MOST, MOST_LARGEST, Downloads
from chromepool.model import File
from testing.cdp import run

LARGEST = 1000


class Folder:
    """As much of a link to the supervisor as downloads need: one session's files."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}

    async def list_files(self, key: int) -> tuple[File, ...]:
        await asyncio.sleep(0)
        return tuple(sorted(self.files.values(), key=lambda file: -file.modified)[:200])

    async def remove_file(self, key: int, name: str) -> None:
        await asyncio.sleep(0)
        if self.files.pop(name, None) is None:
            raise ItemNotFound("There is no such download.")


class Chrome:
    """Downloads as a test says, and cancels when it is told to."""

    def __init__(self) -> None:
        self.folder = Folder()
        self.cancelled: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self._work: list[asyncio.Task[None]] = []
        runtime = types.SimpleNamespace(
            settings=Settings(download_bytes=LARGEST),
            supervisor=self.folder,
            tasks=types.SimpleNamespace(start=self._later),
        )
        now = datetime.datetime.now(datetime.UTC)
        browser = cast(Browser, types.SimpleNamespace(call=self._call))
        self.downloads = Downloads(cast(Runtime, runtime), 1, browser, lambda: now, self._fail)
        self._last = now.timestamp()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._work.append(asyncio.ensure_future(work))

    def _fail(self, name: str, why: str) -> None:
        self.failed.append((name, why))

    async def _call(self, method: str, params: Any = None, timeout_s: float = 0) -> None:
        await asyncio.sleep(0)
        if method == "Browser.cancelDownload":
            self.cancelled.append(params["guid"])

    def begin(self, name: str, size: int) -> None:
        """Its guid is its name. Nothing is in the folder before it is complete."""
        self.downloads.on_event({"guid": name, "suggestedFilename": name})
        self._tell(name, size, "inProgress")

    def complete(self, name: str, size: int) -> None:
        self._last += 1
        self.folder.files[name] = File(name, size, self._last)
        self._tell(name, size, "completed")

    def cancel(self, name: str) -> None:
        self._tell(name, 0, "canceled")

    def _tell(self, name: str, size: int, state: str) -> None:
        told = {"guid": name, "receivedBytes": size, "totalBytes": 0, "state": state}
        self.downloads.on_event(told)

    async def rest(self) -> None:
        while self._work:
            await self._work.pop()


def test_as_many_files_as_there_may_be_and_one_more() -> None:
    async def scenario() -> None:
        chrome = Chrome()
        for number in range(MOST):
            chrome.begin(str(number), 1)
            chrome.complete(str(number), 1)
            await chrome.rest()
        assert len(chrome.folder.files) == MOST
        chrome.begin("last", 1)
        assert len(chrome.folder.files) == MOST
        chrome.complete("last", 1)
        await chrome.rest()
        assert len(chrome.folder.files) == MOST
        assert {"1", "last"} <= set(chrome.folder.files)
        assert "0" not in chrome.folder.files
        assert chrome.failed == []

    run(scenario())


def test_as_many_bytes_as_they_may_take_and_one_more() -> None:
    async def scenario() -> None:
        chrome = Chrome()
        names = [f"large {number}" for number in range(MOST_LARGEST)]
        for name in names:
            chrome.begin(name, LARGEST)
            chrome.complete(name, LARGEST)
        await chrome.rest()
        assert list(chrome.folder.files) == names
        chrome.begin("small", 1)
        chrome.complete("small", 1)
        await chrome.rest()
        assert list(chrome.folder.files) == [*names[1:], "small"]
        assert (chrome.failed, chrome.cancelled) == ([], [])

    run(scenario())


def test_all_that_complete_at_once_are_counted() -> None:
    """Also those that complete while files are being removed, and those of an earlier session."""

    async def scenario() -> None:
        chrome = Chrome()
        for number in range(150):
            chrome.folder.files[f"old {number}"] = File(f"old {number}", 1, float(number))
        chrome.begin("slow", 1)
        for number in range(150):
            chrome.begin(str(number), 1)
            chrome.complete(str(number), 1)
            await asyncio.sleep(0)
        await chrome.rest()
        assert list(chrome.folder.files) == [str(number) for number in range(50, 150)]

    run(scenario())


def test_a_file_of_the_largest_size_and_one_that_is_larger() -> None:
    async def scenario() -> None:
        chrome = Chrome()
        chrome.begin("fits", LARGEST)
        chrome.complete("fits", LARGEST)
        chrome.begin("grows", LARGEST)
        assert chrome.cancelled == []
        chrome.begin("too large", LARGEST + 1)
        chrome.begin("all at once", 0)
        chrome.complete("all at once", LARGEST + 1)
        await chrome.rest()
        assert sorted(chrome.cancelled) == ["all at once", "too large"]
        chrome.cancel("too large")
        chrome.complete("grows", LARGEST)
        await chrome.rest()
        assert list(chrome.folder.files) == ["fits", "grows"]
        over = f"it is over {LARGEST} bytes"
        assert chrome.failed == [("all at once", over), ("too large", over)]

    run(scenario())


def test_those_under_way_are_bounded_in_number_and_the_first_are_given_up() -> None:
    async def scenario() -> None:
        chrome = Chrome()
        for number in range(MOST):
            chrome.begin(str(number), 1)
        await chrome.rest()
        assert chrome.cancelled == []
        chrome.begin("one more", 1)
        await chrome.rest()
        assert chrome.cancelled == ["0"]
        chrome.cancel("0")
        assert chrome.failed == [("0", "the session's downloads take too much")]

    run(scenario())


def test_those_under_way_are_bounded_in_bytes_together() -> None:
    async def scenario() -> None:
        chrome = Chrome()
        for number in range(MOST_LARGEST):
            chrome.begin(str(number), LARGEST)
        await chrome.rest()
        assert chrome.cancelled == []
        chrome.begin("one more", 1)
        chrome.begin("and another", 1)
        await chrome.rest()
        assert chrome.cancelled == ["0"]
        # Chrome was faster: it is not kept all the same, and the rest is.
        chrome.complete("0", LARGEST)
        chrome.complete("1", LARGEST)
        await chrome.rest()
        assert list(chrome.folder.files) == ["1"]

    run(scenario())
