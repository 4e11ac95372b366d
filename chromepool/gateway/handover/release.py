"""The last moments of a gateway whose sessions stay for the next one."""

from __future__ import annotations

import asyncio
import contextlib

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer, Restarting
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.sessions.manager import Manager

SERVICE_RESTART = 1012
"""WebSocket close code (IANA's registry, RFC 6455): to be connected again."""
_RESTARTING_S = 1.0
"""When to try again."""
_ANSWERS_S = 1.0
"""Time for Chrome to answer what clients have asked before they go."""
_POLL_S = 0.005


def restarting() -> Restarting:
    """What callers are told while another gateway is about to take over."""
    return Restarting(
        "The gateway is being replaced.",
        remedy="Ask again in a moment: sessions stay.",
        retry_after_s=_RESTARTING_S,
    )


async def part(manager: Manager) -> None:
    """Clients go, with a word that they may come again. What they have sent whole reaches Chrome,
    and what Chrome could answer at once reaches them."""
    manager.parting = True
    driven = [s.browser for s in manager.chromes if s.browser is not None and s.browser.clients]
    await asyncio.gather(*map(_part_from, driven))
    manager.events.emit("gateway.leaving")


async def _part_from(browser: Browser) -> None:
    for client in browser.clients:
        client.hold(True)
    with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):
        # Chrome answers in order, so what it could answer at once is out before this.
        await browser.call("Browser.getVersion", timeout_s=_ANSWERS_S)
    for client in list(browser.clients):
        client.end(SERVICE_RESTART, "the gateway is being replaced; connect again")


async def flush(manager: Manager, timeout_s: float) -> None:
    """Writes down every session as it is now, and waits until supervisor and Chromes have taken
    what was written, or for so long."""
    for session in manager.chromes:
        manager.recorder.note(session)
    for _ in range(2):
        manager.recorder.bury()
    deadline = manager.clock() + timeout_s
    while _unwritten(manager) and manager.clock() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


def _unwritten(manager: Manager) -> int:
    browsers = [s.browser for s in manager.chromes if s.browser is not None]
    return manager.link.unsent + sum(browser.backlog_bytes for browser in browsers)
