"""Emulation: the viewport, user agent, locale and time zone that pages see."""

import dataclasses

from chromepool.gateway.browser.auto_attach import Command, Target, TargetHook
from chromepool.gateway.cdp import message as cdp

_IN_EFFECT = "override is already in effect"
"""Chrome's error where a client, or a page of the same process, has set the override already."""


@dataclasses.dataclass(frozen=True, slots=True)
class Viewport:
    """Size of a page in CSS pixels."""

    width: int
    height: int
    device_scale_factor: float = 1.0
    mobile: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Emulation:
    """Options that CDP can set after Chrome's start; empty ones leave Chrome's own."""

    viewport: Viewport | None = None
    user_agent: str = ""
    locale: str = ""
    timezone: str = ""


class EmulationHook(TargetHook):
    """Sets a session's emulation on every target."""

    def __init__(self, emulation: Emulation, own_user_agent: str) -> None:
        """``own_user_agent`` is this Chrome's: CDP sets languages only with a user agent."""
        self._emulation = emulation
        self._own_user_agent = own_user_agent

    def commands(self, target: Target) -> list[Command]:
        """Return the commands for the target's kind."""
        wanted = self._emulation
        view = wanted.viewport
        found: list[Command] = []
        if view is not None and target.kind == "page":
            metrics = {
                "width": view.width,
                "height": view.height,
                "deviceScaleFactor": view.device_scale_factor,
                "mobile": view.mobile,
            }
            found.append(("Emulation.setDeviceMetricsOverride", metrics))
        if wanted.timezone and target.kind in ("page", "iframe"):
            found.append(("Emulation.setTimezoneOverride", {"timezoneId": wanted.timezone}))
        if wanted.locale and target.kind in ("page", "iframe"):
            found.append(("Emulation.setLocaleOverride", {"locale": wanted.locale}))
        if wanted.user_agent or wanted.locale:
            agent = {"userAgent": wanted.user_agent or self._own_user_agent}
            if wanted.locale:
                agent["acceptLanguage"] = wanted.locale
            found.append(("Emulation.setUserAgentOverride", agent))
        return found

    def on_answer(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Return Chrome's error, such as an unknown time zone."""
        error = "" if answer.error is None else answer.error.message
        return "" if _IN_EFFECT in error else error
