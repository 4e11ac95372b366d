"""What somebody asks for when they create a session, checked and complete."""

from __future__ import annotations

from typing import Any

import msgspec

from chromepool.gateway.browser.hooks.emulation import Emulation
from chromepool.gateway.sessions.artifacts import CaptureOptions
from chromepool.model import ChromeOptions, Limits


class SessionSpec(msgspec.Struct, frozen=True, rename={"capture_options": "wishes"}):
    """One session to be."""

    owner: str
    """``uid:N``, ``token:NAME`` or ``tcp:ADDRESS``."""
    limits: Limits
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    launch: ChromeOptions = msgspec.field(default_factory=ChromeOptions)
    emulation: Emulation = msgspec.field(default_factory=Emulation)
    capture_options: CaptureOptions = msgspec.field(default_factory=CaptureOptions)
    downloads: str = ""
    """``allow``, ``deny``, or empty: as this Chrome does."""
    idle_timeout_s: float = 0.0
    """0 is never."""
    max_age_s: float = 0.0
    """0 is no limit."""
    grace_s: float | None = None
    """How long the session outlives its last client; None: as long as it likes."""
    fleeting: bool = False
    """Whether it ends with its WebSocket, like a connect-and-go session."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """What was asked for, to be shown again."""

    def suits_warm(self, standard: Limits) -> bool:
        """Whether a Chrome that was started for nobody in particular, under ``standard``, will do.

        Memory, processes and CPU are its control group's and can be changed; the heap and the
        open files were settled when it started.
        """
        return self.limits.reachable_from(standard) and self.launch == ChromeOptions()
