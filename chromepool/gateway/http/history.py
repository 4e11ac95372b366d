"""Handlers of the history, which also has the sessions of earlier runs of the daemon."""

from __future__ import annotations

import datetime
import re
import time
from typing import Any

from aiohttp import web

from chromepool.errors import HistoryUnavailable, SessionNotFound
from chromepool.gateway.history.database import EventRow, SessionRow
from chromepool.gateway.history.queries import HistoryQuery
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.requests import read_query
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.views import json_response
from chromepool.schema import history as schema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ID = re.compile("[0-9a-f]{1,64}")


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _values(life: SessionRow) -> dict[str, Any]:
    """Return the values of a row under the names of the API."""
    return {
        "id": life.id,
        "owner": life.owner,
        "labels": dict(life.labels),
        "created_at": _utc(life.created_at),
        "ended_at": None if life.ended_at is None else _utc(life.ended_at),
        "reason": life.reason,
        "detail": life.detail,
        "warm": life.warm,
        "limits": dict(life.limits),
        "usage": None if life.usage is None else dict(life.usage),
        "exit": None if life.exit is None else dict(life.exit),
    }


def _event(note: EventRow) -> schema.PastEvent:
    return schema.PastEvent(note.number, _utc(note.at), note.name, dict(note.fields))


def make_query(params: schema.HistoryParams, identity: Identity) -> HistoryQuery | None:
    """Return what a request asks the database for; None where the caller may see nothing of it."""
    owner = params.owner or None
    if owner is None and not identity.admin:
        owner = identity.owner
    if owner is not None and not identity.sees(owner):
        return None
    since = None
    if params.since:
        since = time.time() - int(params.since[:-1]) * _UNITS[params.since[-1]]
    after = int(params.after) if params.after else None
    # A row more than asked for shows that there is a next page.
    return HistoryQuery(owner, since, params.reason or None, after, params.limit + 1)


def status_of(journal: HistoryWriter | None) -> schema.JournalStatus:
    """Return the state of the journal for ``GET /v1/status``."""
    if journal is None:
        return schema.JournalStatus(enabled=False)
    state = journal.state
    return schema.JournalStatus(True, state.error, state.waiting, state.dropped)


class HistoryHandlers:
    """Handlers of the routes below ``/v1/history``."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def _journal(self) -> HistoryWriter:
        if self._services.history is None:
            raise HistoryUnavailable(
                "The history is not kept.", remedy="Turn on the setting `journal`."
            )
        return self._services.history

    async def list(self, request: web.Request) -> web.Response:
        """List sessions, the newest first; administrators see those of all owners."""
        identity = self._identify(request)
        params = read_query(request.query, schema.HistoryParams)
        journal = self._journal()
        query = make_query(params, identity)
        if query is None:
            return json_response(schema.HistoryPage([], None))
        found = await journal.find(query)
        shown = found[: params.limit]
        cursor = str(shown[-1][0]) if len(found) > len(shown) else None
        sessions = [schema.PastSession(**_values(life)) for _, life in shown]
        return json_response(schema.HistoryPage(sessions, cursor))

    async def show(self, request: web.Request) -> web.Response:
        """Show a session and its events."""
        identity = self._identify(request)
        journal, session_id = self._journal(), request.match_info["id"]
        found = await journal.show(session_id) if _ID.fullmatch(session_id) else None
        if found is None or not identity.sees(found[0].owner):
            raise SessionNotFound("The history has no session of this id.")
        life, notes = found
        events = [_event(note) for note in notes]
        return json_response(schema.PastSessionWithEvents(**_values(life), events=events))
