"""From an order to a Chrome that answers."""

from __future__ import annotations

from typing import Any

from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, InvalidRequest, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.browser.duties.emulation import Emulation, EmulationDuty
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import Order
from chromepool.gateway.supervisor import Link

log = get_logger("chromepool.gateway.sessions")

_DISCOVERY = {"discover": True, "filter": [{"type": "page"}, {"exclude": True}]}
_CHECK_S = 2.0
"""A Chrome that waited has this long to show that it lives; it usually takes two milliseconds."""


async def greet(browser: Browser, settings: Settings) -> None:
    """The first words to a Chrome. Raises :class:`BrowserGone`, :class:`NoAnswer`."""
    timeout_s = settings.start_timeout_s
    browser.version = await browser.call("Browser.getVersion", timeout_s=timeout_s)
    await browser.call("Target.setDiscoverTargets", _DISCOVERY, timeout_s=timeout_s)
    await browser.begin(timeout_s)


async def check(session: Session, browser: Browser) -> bool:
    """Whether a Chrome that waited still answers."""
    try:
        await browser.call("Browser.getVersion", timeout_s=_CHECK_S)
    except (BrowserGone, CommandFailed, NoAnswer) as error:
        log.warning("session.no_answer", session=session.key, error=error)
        return False
    return True


async def dress(session: Session, browser: Browser, order: Order) -> None:
    """What CDP can set after the start. Raises :class:`InvalidRequest` where Chrome refuses it,
    :class:`BrowserGone`, :class:`NoAnswer`."""
    try:
        if order.downloads:
            await browser.call("Browser.setDownloadBehavior", download_behaviour(session, order))
        if order.emulation != Emulation():
            user_agent = str(browser.version.get("userAgent", ""))
            await session.attendant().take_on(EmulationDuty(order.emulation, user_agent))
        if session.keeping is not None:
            await session.keeping.begin(order.wishes)
    except CommandFailed as error:
        raise InvalidRequest(f"Chrome refuses an option: {error.detail}.") from error


def download_behaviour(session: Session, order: Order) -> dict[str, Any]:
    """Parameters of ``Browser.setDownloadBehavior``."""
    if order.downloads == "deny":
        return {"behavior": "deny"}
    path = f"{session.profile}/Downloads"
    return {"behavior": "allow", "downloadPath": path, "eventsEnabled": True}


async def spawn(link: Link, session: Session, order: Order) -> tuple[int, int]:
    """Has a Chrome started for a session; the descriptors of its pipe.

    Raises :class:`StartFailed`, :class:`ProfileInUse`, :class:`InvalidRequest`.
    """
    spawned = await link.spawn(session.key, order.limits, order.launch)
    session.pid, session.profile = spawned.pid, spawned.profile
    return spawned.commands, spawned.events
