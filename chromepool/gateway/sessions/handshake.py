"""The first commands to a Chrome: initialize it, check that it lives, apply a session's options."""

from __future__ import annotations

from typing import Any

from chromepool.config import Settings
from chromepool.errors import BrowserGone, CommandFailed, InvalidRequest, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.browser.hooks.emulation import Emulation, EmulationHook
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec

log = get_logger("chromepool.gateway.sessions")

_DISCOVERY = {"discover": True, "filter": [{"type": "page"}, {"exclude": True}]}
_PING_S = 2.0
"""Time that a warm Chrome has to show that it lives; it usually takes two milliseconds."""


async def initialize(browser: Browser, settings: Settings) -> None:
    """Ask a Chrome for its version and attach to it.

    Raises :class:`BrowserGone`, :class:`NoAnswer`.
    """
    timeout_s = settings.start_timeout_s
    browser.version = await browser.call("Browser.getVersion", timeout_s=timeout_s)
    await browser.call("Target.setDiscoverTargets", _DISCOVERY, timeout_s=timeout_s)
    await browser.begin(timeout_s)


async def ping(session: Session, browser: Browser) -> bool:
    """Return whether a warm Chrome still answers."""
    try:
        await browser.call("Browser.getVersion", timeout_s=_PING_S)
    except (BrowserGone, CommandFailed, NoAnswer) as error:
        log.warning("session.unanswered", session=session.key, error=error)
        return False
    return True


async def apply_options(session: Session, browser: Browser, spec: SessionSpec) -> None:
    """Set the options that CDP can set after the start.

    Raises :class:`InvalidRequest` where Chrome refuses one, :class:`BrowserGone`,
    :class:`NoAnswer`.
    """
    try:
        if spec.downloads:
            await browser.call("Browser.setDownloadBehavior", download_behavior(session, spec))
        if spec.emulation != Emulation():
            user_agent = str(browser.version.get("userAgent", ""))
            await session.auto_attacher().add_hook(EmulationHook(spec.emulation, user_agent))
        if session.artifacts is not None:
            await session.artifacts.begin(spec.capture_options)
    except CommandFailed as error:
        raise InvalidRequest(f"Chrome refuses an option: {error.detail}.") from error


def download_behavior(session: Session, spec: SessionSpec) -> dict[str, Any]:
    """Parameters of ``Browser.setDownloadBehavior``."""
    if spec.downloads == "deny":
        return {"behavior": "deny"}
    path = f"{session.profile}/Downloads"
    return {"behavior": "allow", "downloadPath": path, "eventsEnabled": True}
