"""Downloads of a session as they go on: the limit, and what became of those that failed."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol

from chromepool.browser.browser import Browser
from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, ItemNotFound, NoAnswer
from chromepool.pool.events import Events
from chromepool.pool.link import Link
from chromepool.pool.session import Session

_NAME = 255
_OPEN = 1000
"""Downloads under way that are remembered."""


class Pool(Protocol):
    """What is asked of the pool."""

    settings: Settings
    events: Events
    link: Link

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work in the background."""


class Downloads:
    """Hears of one session's."""

    def __init__(self, pool: Pool, session: Session, browser: Browser) -> None:
        self._pool, self._session, self._browser = pool, session, browser
        self._names: dict[str, str] = {}
        self._cancelled: set[str] = set()

    def heard(self, params: dict[str, Any]) -> None:
        """``Browser.downloadWillBegin`` or ``Browser.downloadProgress``."""
        guid = str(params.get("guid"))
        if "suggestedFilename" in params:
            self._names[guid] = str(params["suggestedFilename"])[:_NAME]
            if len(self._names) > _OPEN:
                del self._names[next(iter(self._names))]
            return
        size = max(params.get("receivedBytes", 0), params.get("totalBytes", 0))
        state = params.get("state")
        most = self._pool.settings.download_bytes
        if state == "inProgress" and size > most and guid not in self._cancelled:
            self._cancelled.add(guid)
            self._pool.later(self._cancel(guid))
        elif state == "completed" and size > most:  # a small step from nothing to all of it
            path = str(params.get("filePath") or self._names.get(guid, ""))
            self._cancelled.add(guid)
            self._pool.later(self._remove(path.rpartition("/")[2]))
        if state in ("canceled", "completed"):
            self._over(guid, state == "canceled", most)

    def _over(self, guid: str, failed: bool, most: int) -> None:
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
