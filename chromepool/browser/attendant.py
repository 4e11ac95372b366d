"""A client of the daemon's own in a session's Chrome, which meets every target before it runs.

It attaches to the browser like any other client and asks to be attached to whatever opens, paused.
Chrome holds a paused target until every client that asked for it has let it go, so Puppeteer's and
Playwright's own preparations go on undisturbed beside it. Sessions that ask for nothing have none.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import msgspec

from chromepool.browser.browser import Browser
from chromepool.browser.emulation import Emulation
from chromepool.cdp import message as cdp
from chromepool.errors import CommandFailed

log = logging.getLogger("chromepool.browser")

_KINDS = ("page", "iframe", "worker", "shared_worker", "service_worker")
_AUTO_ATTACH = {
    "autoAttach": True,
    "waitForDebuggerOnStart": True,
    "flatten": True,
    "filter": [*({"type": kind} for kind in _KINDS), {"exclude": True}],
}
_IN_EFFECT = "override is already in effect"
"""Chrome's answer where another page of the same renderer, or a client, has set the same for all
of the process. The override that is there stays."""
_ANSWER_S = 30.0


class Attendant:
    """Implements ``cdp.mux.Port``."""

    def __init__(self, browser: Browser, emulation: Emulation, user_agent: str) -> None:
        """``user_agent`` is Chrome's own."""
        self._browser, self._emulation, self._user_agent = browser, emulation, user_agent
        self._ids = itertools.count(1)
        self._asked: dict[int, str] = {}
        self._failed: list[str] = []
        self._settled = asyncio.Event()

    async def start(self) -> None:
        """Prepares the pages that are open. All that open later are prepared before they run.

        Raises :class:`CommandFailed` where Chrome takes none of it (no such locale, say).
        """
        await self._browser.join(self, None)
        self._settled.clear()
        self._send("Target.setAutoAttach", _AUTO_ATTACH)
        async with asyncio.timeout(_ANSWER_S):
            await self._settled.wait()
        if self._failed:
            raise CommandFailed("; ".join(self._failed))

    def _send(self, method: str, params: dict[str, Any], session: str | None = None) -> None:
        number = next(self._ids)
        self._asked[number] = method
        command = cdp.command(number, method, params, session)[:-1]
        self._browser.speak(self, command)

    # -- what the mux calls --

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """An answer or an event of Chrome's for it."""
        try:
            incoming = cdp.decode(bytes(head) + tail)
        except msgspec.DecodeError as error:
            log.error("a message for the daemon itself could not be read: %s", error)
            return
        if incoming.id is not None:
            self._on_answer(incoming.id, incoming)
        elif incoming.method == "Target.attachedToTarget":
            self._prepare(incoming.params)

    def detached(self) -> None:
        """The browser's own target ends with Chrome."""

    def asks_to_close(self) -> None:
        """It never does."""

    # -- targets --

    def _prepare(self, params: dict[str, Any]) -> None:
        session, kind = str(params["sessionId"]), str(params["targetInfo"].get("type"))
        for method, arguments in self._emulation.commands(kind, self._user_agent):
            self._send(method, arguments, session)
        self._send("Target.setAutoAttach", _AUTO_ATTACH, session)
        self._send("Runtime.runIfWaitingForDebugger", {}, session)

    def _on_answer(self, number: int, answer: cdp.Incoming) -> None:
        method = self._asked.pop(number, "")
        said = "" if answer.error is None else answer.error.message
        if said and method.startswith("Emulation.") and _IN_EFFECT not in said:
            log.debug("a target was not prepared: %s: %s", method, said)
            if not self._settled.is_set():
                self._failed.append(f"{method}: {said}")
        if not self._asked:
            self._settled.set()
