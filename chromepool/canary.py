"""A canary: goes the whole way a user goes, and tells how far it got."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from typing import Any

from chromepool import tokens
from chromepool.client import Client
from chromepool.errors import ChromepoolError
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.manager import Manager
from chromepool.logs import strike
from chromepool.schema.canary import CanaryResult

log = get_logger("chromepool.canary")

_NAME = "(canary)"
"""Of its token. No token of a file's can have it, since parentheses are not for names."""
_PAGE = "data:text/html,<title>canary</title><script>window.sum = 40 + 2</script>"
_LABELS = {"chromepool": "canary"}


class Canary:
    """Creates a session, connects with pyppeteer, loads a page, evaluates, deletes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._flight = CanaryResult()
        self._began = 0.0

    async def fly(self) -> CanaryResult:
        """Tries every step; raises nothing: what fails is in the flight. The session is ended
        whatever happens."""
        try:
            self._step("create")
            async with self._client.session(labels=_LABELS, idle_timeout_s=60) as session:
                self._step("connect")
                browser = await session.pyppeteer()
                await self._visit(browser)
                self._step("delete")
            self._step("")
            self._flight.ok = True
        except Exception as error:  # whatever it is, it is what a user would have met
            said = str(error) if isinstance(error, ChromepoolError) else repr(error)
            self._flight.error = strike(said)[:500]
        return self._flight

    async def _visit(self, browser: Any) -> None:
        self._step("load")
        page = await browser.newPage()
        await page.goto(_PAGE)
        self._step("evaluate")
        found = await page.evaluate("[document.title, window.sum]")
        if found != ["canary", 42]:
            raise ChromepoolError(f"The page says {found!r}.")

    def _step(self, name: str) -> None:
        """The step before is through; the next one begins."""
        now = time.monotonic()
        if self._flight.step:
            self._flight.steps_s[self._flight.step] = round(now - self._began, 4)
        self._flight.step, self._began = name, now


def preload() -> None:
    """Imports what a flight needs, while the code can be read: before root is dropped."""
    import importlib.metadata  # what websockets looks up when it is first used

    import pyppeteer

    importlib.metadata.version(pyppeteer.__name__)


async def fly_forever(manager: Manager) -> None:
    """On a schedule, as often as ``canary_interval_s`` says; the outcome is counted, logged
    and told."""
    interval_s = manager.settings.canary_interval_s
    while interval_s:
        await asyncio.sleep(interval_s)
        async with Client(manager.settings.control_socket, token=_own_token(manager)) as client:
            _tell(manager, await Canary(client).fly())


def _own_token(manager: Manager) -> str:
    """A new token of the daemon's own, for where ``require_token`` asks for one. It is known in
    this process only; the one before is valid no more."""
    token = secrets.token_hex()
    manager.tokens = manager.tokens | {_NAME: tokens.digest(token)}
    return token


def _tell(manager: Manager, flight: CanaryResult) -> None:
    if flight.ok:
        manager.canary_failure = ""
        log.info("canary.passed", steps_s=flight.steps_s)
    else:
        manager.canary_failure = f"{flight.step}: {flight.error}"
        log.warning("canary.failed", step=flight.step, error=flight.error)
    outcome = "passed" if flight.ok else "failed"
    manager.canaries[outcome] += 1
    manager.events.emit(f"canary.{outcome}", **dataclasses.asdict(flight))
