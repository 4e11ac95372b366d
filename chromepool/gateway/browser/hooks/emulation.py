"""What pages are told of the machine: viewport, user agent, locale, time zone."""

from __future__ import annotations

import dataclasses
from typing import Any

from chromepool.gateway.browser.auto_attach import Command, Target
from chromepool.gateway.cdp import message as cdp

_IN_EFFECT = "override is already in effect"
"""Chrome's answer where another page of the same renderer, or a client, has set the same for all
of the process. The override that is there stays."""


@dataclasses.dataclass(frozen=True, slots=True)
class Viewport:
    """Size of a page in CSS pixels."""

    width: int
    height: int
    device_scale_factor: float = 1.0
    mobile: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Emulation:
    """Everything that CDP can set after Chrome's start; empty is Chrome's own."""

    viewport: Viewport | None = None
    user_agent: str = ""
    locale: str = ""
    timezone: str = ""

    def commands(self, kind: str, own_user_agent: str) -> list[Command]:
        """What a target of this kind (CDP's ``TargetInfo.type``) is told before it runs.

        ``own_user_agent`` is this Chrome's: the languages that a page asks servers for can be set
        only together with one.
        """
        found: list[Command] = []
        if self.viewport is not None and kind == "page":
            found.append(("Emulation.setDeviceMetricsOverride", self._metrics(self.viewport)))
        if self.timezone and kind in ("page", "iframe"):
            found.append(("Emulation.setTimezoneOverride", {"timezoneId": self.timezone}))
        if self.locale and kind in ("page", "iframe"):
            found.append(("Emulation.setLocaleOverride", {"locale": self.locale}))
        if self.user_agent or self.locale:
            agent = {"userAgent": self.user_agent or own_user_agent}
            if self.locale:
                agent["acceptLanguage"] = self.locale
            found.append(("Emulation.setUserAgentOverride", agent))
        return found

    @staticmethod
    def _metrics(viewport: Viewport) -> dict[str, Any]:
        return {
            "width": viewport.width,
            "height": viewport.height,
            "deviceScaleFactor": viewport.device_scale_factor,
            "mobile": viewport.mobile,
        }


class EmulationHook:
    """Tells every target of a session's emulation. Implements ``attendant.Duty``."""

    events: frozenset[bytes] = frozenset()

    def __init__(self, emulation: Emulation, own_user_agent: str) -> None:
        self._emulation, self._own_user_agent = emulation, own_user_agent

    def commands(self, target: Target) -> list[Command]:
        """Those of its kind."""
        return self._emulation.commands(target.kind, self._own_user_agent)

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Chrome knows no such time zone, say."""
        said = "" if answer.error is None else answer.error.message
        return "" if _IN_EFFECT in said else said

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """Nothing is listened to."""

    def gone(self, target: Target) -> None:
        """Nothing is kept of a target."""
