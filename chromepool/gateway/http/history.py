"""``GET /v1/history``: what became of sessions, also of those of the daemon's earlier lives."""

from __future__ import annotations

import re
import time
from typing import Any

from aiohttp import web

from chromepool.errors import HistoryUnavailable, InvalidRequest, SessionNotFound
from chromepool.gateway.history.queries import HistoryQuery, find_session, find_sessions
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.views import json_response
from chromepool.gateway.sessions.manager import Manager
from chromepool.schema import history as schema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DEFAULT = 100
_ID = re.compile("[0-9a-f]{1,64}")


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
    return HistoryQuery(owner, ago, reason, None if after is None else int(after), most)


def status_of(journal: HistoryWriter | None) -> schema.JournalStatus:
    """The journal in ``GET /v1/status``."""
    if journal is None:
        return schema.JournalStatus(enabled=False)
    return schema.JournalStatus(True, journal.error, journal.waiting, journal.dropped)


class History:
    """The handlers."""

    def __init__(self, manager: Manager, identify: Identify) -> None:
        self._manager, self._identify = manager, identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes."""
        app.router.add_get("/v1/history", self.list)
        app.router.add_get("/v1/history/{id}", self.show)

    def _journal(self) -> HistoryWriter:
        if self._manager.journal is None:
            raise HistoryUnavailable("The journal is off.", remedy="The setting is `journal`.")
        return self._manager.journal

    async def list(self, request: web.Request) -> web.Response:
        """``GET /v1/history``: the caller's, the newest first; administrators see everybody's."""
        question = question_of(request.query, self._identify(request))
        journal = self._journal()
        if question is None:
            return json_response(schema.HistoryPage([], None))
        return json_response(await journal.read(find_sessions, question))

    async def show(self, request: web.Request) -> web.Response:
        """``GET /v1/history/{id}``: one session and what happened to it."""
        identity = self._identify(request)
        journal, session_id = self._journal(), request.match_info["id"]
        found = None
        if _ID.fullmatch(session_id):
            found = await journal.read(find_session, session_id)
        if found is None or not identity.sees(found.owner):
            raise SessionNotFound("There is no session of this id.")
        return json_response(found)
