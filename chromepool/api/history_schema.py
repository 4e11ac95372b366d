"""The JSON of the history."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from chromepool.model import Reason

LOST = "lost"
"""The reason of a session whose end nobody saw, beside those of ``Reason``."""
REASONS = (*(str(reason) for reason in Reason), LOST)
SINCE = r"^[0-9]{1,6}[smhd]$"
OWNER = r"^[\x21-\x7e]{1,256}$"
CURSOR = r"^[0-9]{1,15}$"
MOST = 1000
"""Sessions in one answer."""


class JournalStatus(msgspec.Struct):
    """How the journal is, in ``GET /v1/status``."""

    enabled: bool
    error: str = ""
    waiting: int = 0
    dropped: int = 0


class PastSession(msgspec.Struct):
    """A session as the journal has it: one that is over, or runs."""

    id: str
    owner: str
    labels: dict[str, str]
    created_at: datetime.datetime
    ended_at: datetime.datetime | None
    reason: str | None
    detail: str
    warm: bool
    limits: dict[str, Any]
    usage: dict[str, Any] | None
    exit: dict[str, Any] | None


class PastEvent(msgspec.Struct):
    """An event of a session."""

    number: int
    at: datetime.datetime
    name: str
    fields: dict[str, Any]


class HistoryPage(msgspec.Struct):
    """``GET /v1/history``."""

    sessions: list[PastSession]
    next: str | None
    """``after`` of the next page; None on the last."""


class PastSessionWithEvents(PastSession):
    """``GET /v1/history/{id}``."""

    events: list[PastEvent]
