"""The last moments of a gateway whose sessions stay for the next one."""

import asyncio
import contextlib

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer, Restarting
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.handover.snapshot import SnapshotWriter
from chromepool.gateway.sessions.pool import Pool

_RESTARTING_S = 1.0
"""Seconds after which a caller may try again."""
_ANSWERS_S = 1.0
"""Time for Chrome to answer the commands of clients before they are disconnected."""
_POLL_S = 0.005


def restarting() -> Restarting:
    """The error for callers while another gateway is about to take over."""
    said = "The gateway is being replaced."
    remedy = "Ask again in a moment: sessions stay."
    return Restarting(said, remedy=remedy, retry_after_s=_RESTARTING_S)


async def disconnect_clients(pool: Pool) -> None:
    """Disconnect all clients, which may connect again, and keep their sessions. Whole messages of a
    client still reach Chrome, and answers that Chrome has at once still reach the client."""
    pool.gate.leaving = True
    await asyncio.gather(*(_disconnect(browser) for browser in _browsers(pool) if browser.clients))
    pool.runtime.events.emit("gateway.leaving")


async def _disconnect(browser: Browser) -> None:
    for client in browser.clients:
        client.hold(True)
    with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):
        # Chrome answers in order: whatever it could answer at once is out before this answer.
        await browser.call("Browser.getVersion", timeout_s=_ANSWERS_S)
    for client in list(browser.clients):
        client.gateway_replaced()


async def flush(pool: Pool, snapshots: SnapshotWriter, timeout_s: float) -> None:
    """Replace every snapshot, and wait until supervisor and Chromes have taken what was written
    to them, or for ``timeout_s``."""
    for session in pool.registry.chromes:
        snapshots.write(session)
    for _ in range(2):
        snapshots.bury()
    clock = pool.runtime.clock
    deadline = clock() + timeout_s
    while _unwritten(pool) and clock() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


def _browsers(pool: Pool) -> list[Browser]:
    return [s.browser for s in pool.registry.chromes if s.browser is not None]


def _unwritten(pool: Pool) -> int:
    backlog = sum(browser.backlog_bytes for browser in _browsers(pool))
    return pool.runtime.supervisor.unsent + backlog
