"""``GET /v1/history``: what became of sessions, also of those of the daemon's earlier lives."""

from __future__ import annotations

import datetime
import re
import time
from typing import Any

from aiohttp import web

from chromepool.errors import HistoryUnavailable, InvalidRequest, SessionNotFound
from chromepool.gateway.history.database import EventRow, SessionRow
from chromepool.gateway.history.queries import HistoryQuery
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.views import json_response
from chromepool.schema import history as schema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DEFAULT = 100
_ID = re.compile("[0-9a-f]{1,64}")


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _values(life: SessionRow) -> dict[str, Any]:
    """A life's as the API names them."""
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


def _matching(query: Any, name: str, pattern: str, said: str) -> str | None:
    value: str | None = query.get(name)
    if value is not None and not re.fullmatch(pattern.strip("^$"), value):
        raise InvalidRequest(f"{name} is {said}.")
    return value


def question_of(query: Any, identity: Identity) -> HistoryQuery | None:
    """What a request asks for; None where nothing of it is the caller's to see.

    Raises :class:`InvalidRequest`.
    """
    since = _matching(query, "since", schema.SINCE, "a time such as 90s, 15m, 2h or 7d")
    owner = _matching(query, "owner", schema.OWNER, "such as uid:1000 or token:NAME")
    after = _matching(query, "after", schema.CURSOR, "the `next` of an answer")
    limit = _matching(query, "limit", r"^[0-9]{1,4}$", f"1 to {schema.MOST}")
    reason = query.get("reason")
    if reason is not None and reason not in schema.REASONS:
        raise InvalidRequest(f"reason is one of {', '.join(schema.REASONS)}.")
    most = _DEFAULT if limit is None else int(limit)
    if not 1 <= most <= schema.MOST:
        raise InvalidRequest(f"limit is 1 to {schema.MOST}.")
    if owner is None and not identity.admin:
        owner = identity.owner
    if owner is not None and not identity.sees(owner):
        return None
    ago = None if since is None else time.time() - int(since[:-1]) * _UNITS[since[-1]]
    # One more than asked for tells whether there is a next page.
    return HistoryQuery(owner, ago, reason, None if after is None else int(after), most + 1)


def status_of(journal: HistoryWriter | None) -> schema.JournalStatus:
    """The journal in ``GET /v1/status``."""
    if journal is None:
        return schema.JournalStatus(enabled=False)
    state = journal.state
    return schema.JournalStatus(True, state.error, state.waiting, state.dropped)


class History:
    """The handlers."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes."""
        app.router.add_get("/v1/history", self.list)
        app.router.add_get("/v1/history/{id}", self.show)

    def _journal(self) -> HistoryWriter:
        if self._services.history is None:
            raise HistoryUnavailable("The journal is off.", remedy="The setting is `journal`.")
        return self._services.history

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/history``: the caller's, the newest first; administrators see everybody's."""
        question = question_of(request.query, self._identify(request))
        journal = self._journal()
        if question is None:
            return json_response(schema.HistoryPage([], None))
        found = await journal.find(question)
        shown = found[: question.limit - 1]
        cursor = str(shown[-1][0]) if len(found) > len(shown) else None
        sessions = [schema.PastSession(**_values(life)) for _, life in shown]
        return json_response(schema.HistoryPage(sessions, cursor))

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/history/{id}``: one session and what happened to it."""
        identity = self._identify(request)
        journal, session_id = self._journal(), request.match_info["id"]
        found = await journal.show(session_id) if _ID.fullmatch(session_id) else None
        if found is None or not identity.sees(found[0].owner):
            raise SessionNotFound("There is no session of this id.")
        life, notes = found
        events = [_event(note) for note in notes]
        return json_response(schema.PastSessionWithEvents(**_values(life), events=events))
