"""The JSON of the history."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

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
    error: Annotated[str, Meta(description="Why it is not written now; empty where it is.")] = ""
    waiting: Annotated[int, Meta(description="Entries that wait to be written.")] = 0
    dropped: Annotated[int, Meta(description="Given up since the gateway started.")] = 0


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
    usage: Annotated[dict[str, Any], Meta(description="At its end; null while it runs.")] | None
    exit: Annotated[dict[str, Any], Meta(description="Null where nobody saw the end.")] | None


class PastEvent(msgspec.Struct):
    """An event of a session."""

    number: int
    at: datetime.datetime
    name: str
    fields: dict[str, Any]


class HistoryPage(msgspec.Struct):
    """``GET /v1/history``."""

    sessions: list[PastSession]
    next: Annotated[str, Meta(description="`after` of the next page; null on the last.")] | None


class PastSessionWithEvents(PastSession):
    """``GET /v1/history/{id}``."""

    events: list[PastEvent]
