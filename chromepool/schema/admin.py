"""The shapes of the routes of the daemon as a whole: what comes in is checked against them, and
``/openapi.json`` is made from them."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

MOST_WAIT_S = 60.0
"""What a caller may wait in one request for the end of a drain."""


def _told(meaning: str) -> Meta:
    return Meta(description=meaning)


class DrainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /v1/drain``."""

    deadline_s: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=30 * 86400,
                description="Seconds until those that still run are ended; null: never.",
            ),
        ]
        | None
    ) = None
    exit: Annotated[bool, _told("Whether the daemon exits when the last one is gone.")] = False


class DrainView(msgspec.Struct):
    """How far the daemon has drained."""

    draining: Annotated[bool, _told("Whether it takes no new sessions.")]
    sessions: Annotated[int, _told("Those that are left.")]
    pid: Annotated[int, _told("The daemon's process, to see its end by on its own machine.")]
    ends_at: Annotated[datetime.datetime, _told("When those are ended.")] | None = None
    exit: Annotated[bool, _told("Whether the daemon exits when the last one is gone.")] = False


class ReloadView(msgspec.Struct):
    """``POST /v1/reload``: a new gateway is starting, and takes over once it has loaded."""

    restarts: Annotated[int, _told("That of `/v1/status` so far; the new gateway's is one more.")]
