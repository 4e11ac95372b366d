"""The complete and checked specification of one session to be created."""

import dataclasses
from typing import Any

import msgspec

from chromepool.gateway.browser.hooks.emulation import Emulation
from chromepool.gateway.store.responses import ResponseFilter
from chromepool.gateway.store.scripts import Script
from chromepool.model import ChromeOptions, Limits


@dataclasses.dataclass(frozen=True, slots=True)
class CaptureOptions:
    """The artifacts that a session keeps from its first page on."""

    scripts: tuple[Script, ...] = ()
    capture: ResponseFilter | None = None
    """Filter of the responses that are kept; None: none are."""
    console: bool = False
    """True if console messages are kept."""


# The names in the encoded form are those of 0.1: a new gateway reads what an older one wrote.
_NAMES = {"capture_options": "wishes", "chrome_options": "launch"}


class SessionSpec(msgspec.Struct, frozen=True, rename=_NAMES):
    """A session to be created."""

    owner: str
    """``uid:N``, ``token:NAME`` or ``tcp:ADDRESS``."""
    limits: Limits
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    chrome_options: ChromeOptions = msgspec.field(default_factory=ChromeOptions)
    emulation: Emulation = msgspec.field(default_factory=Emulation)
    capture_options: CaptureOptions = msgspec.field(default_factory=CaptureOptions)
    downloads: str = ""
    """``allow``, ``deny``, or empty for what Chrome does by default."""
    idle_timeout_s: float = 0.0
    """0 is never."""
    max_age_s: float = 0.0
    """0 is no limit."""
    grace_s: float | None = None
    """Seconds that the session outlives its last client; None: without limit."""
    fleeting: bool = False
    """True if it ends with its WebSocket, like a connect-and-go session."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """The request's options, to be shown again."""

    def suits_warm(self, standard: Limits) -> bool:
        """Return whether a warm Chrome that was started under ``standard`` will do: the caps of its
        control group can be changed, the heap and the open files were settled at its start."""
        return self.limits.reachable_from(standard) and self.chrome_options == ChromeOptions()
