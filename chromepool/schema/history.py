"""The API's types for the history and for events."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chromepool.model import Reason
from chromepool.schema.fields import about

LOST = "lost"
"""The reason of a session whose end was not seen, in addition to those of ``Reason``."""
REASONS = (*map(str, Reason), LOST)
_Reason: Any = Literal[REASONS]
_Age = Annotated[
    str, Meta(pattern=r"^[0-9]{1,6}[smhd]$", title="an age such as 90s, 15m, 2h or 7d")
]
_Owner = Annotated[
    str, Meta(pattern=r"^[\x21-\x7e]{1,256}$", title="an owner such as uid:1000 or token:NAME")
]
_Limit = Annotated[int, Meta(ge=1, le=1000, title="a whole number from 1 to 1000")]
_Page = Annotated[str, Meta(pattern=r"^[0-9]{1,15}$", title="the `next` of an earlier answer")]
_Number = Annotated[str, Meta(pattern=r"^[0-9]{1,15}$", title="the number of an event")]


class HistoryParams(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/history``."""

    since: Annotated[_Age, about("Age of the oldest end to show, such as `15m` or `7d`.")] = ""
    owner: Annotated[_Owner, about("Owner of the sessions to show.")] = ""
    reason: Annotated[_Reason | UnsetType, about("Reason of the ends to show.")] = UNSET
    limit: Annotated[_Limit, about("Most sessions in the answer; 100 without it.")] = 100
    after: Annotated[_Page, about("`next` of the page before.")] = ""


class EventsParams(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/events``."""

    after: Annotated[_Number, about("Number of the last event that the client has.")] = ""


class JournalStatus(msgspec.Struct):
    """State of the journal, the database of the history."""

    enabled: Annotated[bool, about("True if the setting `journal` is on.")]
    error: Annotated[str, about("Error that stops the writing; empty without one.")] = ""
    waiting: Annotated[int, about("Entries that wait to be written.")] = 0
    dropped: Annotated[int, about("Entries given up since the gateway started.")] = 0


class PastSession(msgspec.Struct):
    """A session in the history, ended or still running."""

    id: Annotated[str, about("Id of the session.")]
    owner: Annotated[str, about("Owner of the session.")]
    labels: Annotated[dict[str, str], about("Labels given at creation.")]
    created_at: Annotated[datetime, about("Time of creation.")]
    ended_at: Annotated[datetime | None, about("Time of the end; null while it runs.")]
    reason: Annotated[str | None, about("Reason of the end; null while it runs.")]
    detail: Annotated[str, about("Reason in words.")]
    warm: Annotated[bool, about("True if the session began with a warm Chrome.")]
    limits: Annotated[dict[str, Any], about("Limits of the session.")]
    usage: Annotated[dict[str, Any] | None, about("Usage at the end; null while it runs.")]
    exit: Annotated[dict[str, Any] | None, about("Exit of Chrome; null if it was not seen.")]


class PastEvent(msgspec.Struct):
    """An event of a session."""

    number: Annotated[int, about("Number of the event.")]
    at: Annotated[datetime, about("Time of the event.")]
    name: Annotated[str, about("Name of the event, such as `session.created`.")]
    fields: Annotated[dict[str, Any], about("Fields of the event.")]


class HistoryPage(msgspec.Struct):
    """A page of the history."""

    sessions: Annotated[list[PastSession], about("Sessions, the newest first.")]
    next: Annotated[str | None, about("`after` of the next page; null on the last page.")]


class PastSessionWithEvents(PastSession):
    """A session in the history, with its events."""

    events: Annotated[list[PastEvent], about("Events of the session, the oldest first.")]
