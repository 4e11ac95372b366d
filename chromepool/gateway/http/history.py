"""Handlers of the history, which also has the sessions of earlier runs of the daemon."""

import re
import time

from aiohttp import web

from chromepool.errors import HistoryUnavailable, SessionNotFound
from chromepool.gateway.history.queries import HistoryQuery, find_session, find_sessions
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.identity import Identity
from chromepool.gateway.http.requests import read_query
from chromepool.gateway.http.services import Handlers, json_response
from chromepool.schema import history as schema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ID = re.compile("[0-9a-f]{1,64}")


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
    return HistoryQuery(owner, since, params.reason or None, after, params.limit)


class HistoryHandlers(Handlers):
    """Handlers of the routes below ``/v1/history``."""

    def _journal(self) -> HistoryWriter:
        if self._services.history is None:
            raise HistoryUnavailable(
                "The history is not kept.", remedy="Turn on the setting `journal`."
            )
        return self._services.history

    async def list_history(self, request: web.Request) -> web.Response:
        """List sessions, the newest first; administrators see those of all owners."""
        identity = self._identify(request)
        params = read_query(request.query, schema.HistoryParams)
        journal = self._journal()
        query = make_query(params, identity)
        if query is None:
            return json_response(schema.HistoryPage([], None))
        return json_response(await journal.read(find_sessions, query))

    async def show_history(self, request: web.Request) -> web.Response:
        """Show a session and its events."""
        identity = self._identify(request)
        journal, session_id = self._journal(), request.match_info["id"]
        found = None
        if _ID.fullmatch(session_id):
            found = await journal.read(find_session, session_id)
        if found is None or not identity.sees(found.owner):
            raise SessionNotFound("The history has no session of this id.")
        return json_response(found)
