"""From an order to a Chrome that answers."""

from __future__ import annotations

from typing import Any

from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, InvalidRequest, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.browser.hooks.emulation import Emulation, EmulationHook
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.supervisor import SupervisorClient

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


async def dress(session: Session, browser: Browser, spec: SessionSpec) -> None:
    """What CDP can set after the start. Raises :class:`InvalidRequest` where Chrome refuses it,
    :class:`BrowserGone`, :class:`NoAnswer`."""
    try:
        if spec.downloads:
            await browser.call("Browser.setDownloadBehavior", download_behaviour(session, spec))
        if spec.emulation != Emulation():
            user_agent = str(browser.version.get("userAgent", ""))
            await session.auto_attacher().add_hook(EmulationHook(spec.emulation, user_agent))
        if session.artifacts is not None:
            await session.artifacts.begin(spec.capture_options)
    except CommandFailed as error:
        raise InvalidRequest(f"Chrome refuses an option: {error.detail}.") from error


def download_behaviour(session: Session, spec: SessionSpec) -> dict[str, Any]:
    """Parameters of ``Browser.setDownloadBehavior``."""
    if spec.downloads == "deny":
        return {"behavior": "deny"}
    path = f"{session.profile}/Downloads"
    return {"behavior": "allow", "downloadPath": path, "eventsEnabled": True}


async def spawn(link: SupervisorClient, session: Session, spec: SessionSpec) -> tuple[int, int]:
    """Has a Chrome started for a session; the descriptors of its pipe.

    Raises :class:`StartFailed`, :class:`ProfileInUse`, :class:`InvalidRequest`.
    """
    spawned = await link.spawn(session.key, spec.limits, spec.launch)
    session.pid, session.profile = spawned.pid, spawned.profile
    return spawned.commands, spawned.events
