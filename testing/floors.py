"""The rooms of the package from the ground up: each imports from its own floor and from below."""

from __future__ import annotations

SHARED = {
    "channel",
    "errors",
    "model",
    "setting",
    "config",
    "config_sources",
    "chrome_options",
    "logs",
    "tokens",
    "wire",
    "startup",
    "psi",
}
"""The ground both processes stand on: the standard library only."""


FLOORS: tuple[tuple[str, ...], ...] = (
    tuple(sorted(SHARED)),
    ("schema",),
    ("supervisor",),
    ("client",),
    ("gateway.log", "gateway.histogram"),
    ("gateway.cdp",),
    ("gateway.browser", "gateway.store"),
    ("gateway.spec", "gateway.supervisor", "gateway.event_stream"),
    ("gateway.runtime", "gateway.capacity"),
    ("gateway.sessions",),
    ("gateway.handover", "gateway.history"),
    ("canary",),
    ("gateway.monitor",),
    ("gateway.http",),
    ("gateway",),
    ("cli",),
)
"""From the ground up. The package's own ``__init__`` holds the version and lies below all."""
