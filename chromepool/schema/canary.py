"""The JSON of a canary's result: of ``chromepool canary --json`` and of the canary events."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class CanaryResult:
    """Result of one canary."""

    ok: bool = False
    step: str = ""
    """The step that failed."""
    error: str = ""
    """The failure in words."""
    steps_s: dict[str, float] = dataclasses.field(default_factory=dict)
    """Seconds that each completed step took."""
