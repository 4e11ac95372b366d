"""The last moments of a gateway whose sessions stay for the next one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer, Restarting
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.handover.snapshot import SnapshotWriter
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.gate import Gate
from chromepool.gateway.sessions.session import Session

_RESTARTING_S = 1.0
"""Seconds after which a caller may try again."""
_ANSWERS_S = 1.0
"""Time for Chrome to answer the commands of clients before they are disconnected."""
_POLL_S = 0.005


def restarting() -> Restarting:
    """The error for callers while another gateway is about to take over."""
    return Restarting(
        "The gateway is being replaced.",
        remedy="Ask again in a moment: sessions stay.",
        retry_after_s=_RESTARTING_S,
    )


async def disconnect_clients(runtime: Runtime, sessions: Sequence[Session], gate: Gate) -> None:
    """Disconnect all clients, which may connect again, and keep their sessions.

    Whole messages that a client has sent reach Chrome, and answers that Chrome has at once reach
    the client.
    """
    gate.leaving = True
    browsers = [s.browser for s in sessions if s.browser is not None and s.browser.clients]
    await asyncio.gather(*map(_disconnect, browsers))
    runtime.events.emit("gateway.leaving")


async def _disconnect(browser: Browser) -> None:
    for client in browser.clients:
        client.hold(True)
    with contextlib.suppress(BrowserGone, CommandFailed, NoAnswer):
        # Chrome answers in order: whatever it could answer at once is out before this answer.
        await browser.call("Browser.getVersion", timeout_s=_ANSWERS_S)
    for client in list(browser.clients):
        client.gateway_replaced()


async def flush(
    runtime: Runtime, sessions: Sequence[Session], snapshots: SnapshotWriter, timeout_s: float
) -> None:
    """Replace every snapshot, and wait until supervisor and Chromes have taken what was written
    to them, or for ``timeout_s``."""
    for session in sessions:
        snapshots.write(session)
    for _ in range(2):
        snapshots.bury()
    deadline = runtime.clock() + timeout_s
    while _unwritten(runtime, sessions) and runtime.clock() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


def _unwritten(runtime: Runtime, sessions: Sequence[Session]) -> int:
    browsers = [s.browser for s in sessions if s.browser is not None]
    return runtime.supervisor.unsent + sum(browser.backlog_bytes for browser in browsers)
