"""Handlers of the history, of earlier runs of the daemon too, and of the stream of events."""

from __future__ import annotations

import collections
import contextlib
import re
import time
from collections.abc import Iterator

import msgspec
from aiohttp import web
from multidict import MultiDict

from chromepool.errors import HistoryUnavailable, SessionNotFound, TooManyListeners
from chromepool.gateway.event_stream import Event, Listener
from chromepool.gateway.history import queries
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.requests import read_query
from chromepool.gateway.http.services import Handlers, Services, json_response
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import utc_now
from chromepool.schema import history as schema

log = get_logger("chromepool.gateway.http")

MOST = 32
"""Listeners of one caller: up to a thousand events may wait for each."""
_AGAIN_S = 5.0
"""Seconds after which a refused caller may try again."""
_BEAT_S = 15.0
"""Seconds of silence before a comment is sent, so that proxies do not drop the connection."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ID = re.compile("[0-9a-f]{1,64}")


def make_query(params: schema.HistoryParams, identity: Identity) -> queries.HistoryQuery | None:
    """Return what a request asks the database for; None where the caller may see nothing of it."""
    owner = params.owner or (None if identity.admin else identity.owner)
    if owner is not None and not identity.sees(owner):
        return None
    since = None
    if params.since:
        since = time.time() - int(params.since[:-1]) * _UNITS[params.since[-1]]
    after = int(params.after) if params.after else None
    return queries.HistoryQuery(owner, since, params.reason or None, after, params.limit)


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
        return json_response(await journal.read(queries.find_sessions, query))

    async def show_history(self, request: web.Request) -> web.Response:
        """Show a session and its events."""
        identity = self._identify(request)
        journal, session_id = self._journal(), request.match_info["id"]
        known = _ID.fullmatch(session_id)
        found = await journal.read(queries.find_session, session_id) if known else None
        if found is None or not identity.sees(found.owner):
            raise SessionNotFound("The history has no session of this id.")
        return json_response(found)


# -- the stream of events --


def _frame(event: Event) -> bytes:
    said = {name: getattr(event, name) for name in ("at", "name", "session_id", "owner")}
    body = {name: value for name, value in (said | event.fields).items() if value is not None}
    data = msgspec.json.encode(body)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.name.encode(), data)


def _after(request: web.Request) -> int | None:
    """Return the last event that a client has, from its header or else from its query."""
    text = request.headers.get("Last-Event-ID", request.query.get("after", ""))
    if not text:  # browsers send no number before their first event
        return None
    return int(read_query(MultiDict(after=text), schema.EventsParams).after)


class _Reader:
    """A client of the stream: it gets the events that it may see, in order and each once. A gap in
    their numbers becomes an event of its own, so that the client knows that some are lost."""

    def __init__(self, identity: Identity, response: web.StreamResponse, reached: int) -> None:
        self._identity = identity
        self._response = response
        self.reached = reached
        """Number of the last event that was sent, or that the client may not see."""

    async def send(self, event: Event) -> None:
        """Send the next event, if the client may see it."""
        if event.number > self.reached + 1:
            await self.send_lost(event.number - 1)
        self.reached = event.number
        owner = event.owner
        if self._identity.admin or (owner is not None and self._identity.sees(owner)):
            await self._response.write(_frame(event))

    async def send_lost(self, last: int) -> None:
        """Report that the events up to ``last`` are lost."""
        fields = {"after": self.reached, "last": last}
        await self._response.write(_frame(Event(last, utc_now(), "events.lost", fields=fields)))
        self.reached = last

    async def beat(self, comment: bytes) -> None:
        """Send a comment and the number reached, from which the client reconnects."""
        await self._response.write(b": %s\nid: %d\n\n" % (comment, self.reached))


class EventHandlers(Handlers):
    """Handler of the event stream, and the count of each caller's listeners."""

    def __init__(self, services: Services, identify: Identify) -> None:
        super().__init__(services, identify)
        self._listening: collections.Counter[str] = collections.Counter()

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Stream the caller's events, beginning after the one that the client has."""
        identity = self._identify(request)
        after = _after(request)
        with self._listener_of(identity.owner):
            return await self._stream(request, identity, after)

    @contextlib.contextmanager
    def _listener_of(self, owner: str) -> Iterator[None]:
        if self._listening[owner] >= MOST:
            raise TooManyListeners(
                f"{owner} already has {MOST} event streams.",
                remedy="Close one of them.",
                retry_after_s=_AGAIN_S,
            )
        self._listening[owner] += 1
        try:
            yield
        finally:
            self._listening[owner] -= 1
            self._listening += collections.Counter()  # drops the zeros

    async def _stream(
        self, request: web.Request, identity: Identity, after: int | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        events = self._pool.runtime.events
        reader = _Reader(identity, response, events.last if after is None else after)
        await reader.beat(b"chromepool")
        await self._catch_up(reader)
        listener = events.listen(reader.reached)  # no await since: no event slips through
        try:
            await self._serve(reader, listener)
        finally:
            events.leave(listener)
        return response

    async def _catch_up(self, reader: _Reader) -> None:
        """Send the events that are no longer in memory, as far as the history has them."""
        events = self._pool.runtime.events
        while reader.reached + 1 < events.first:
            missed = await self._missed(reader.reached, events.first)
            if not missed:
                break
            for event in missed:
                await reader.send(event)
        ahead = reader.reached > events.last  # the client knows events of a daemon that is gone
        if ahead or reader.reached < events.last < events.first:
            await reader.send_lost(events.last)

    async def _missed(self, after: int, before: int) -> list[Event]:
        if self._services.history is None:
            return []
        try:
            return await self._services.history.read(queries.events_between, after, before)
        except HistoryUnavailable as error:
            log.warning("events.unread", error=error)
            return []

    async def _serve(self, reader: _Reader, listener: Listener) -> None:
        while not self._pool.gate.stopping:
            try:
                event = await listener.next(_BEAT_S)
            except TimeoutError:
                await reader.beat(b"still here")
                continue
            if event is None:  # too far behind: the client reconnects with Last-Event-ID
                return
            await reader.send(event)
            if event.name in ("daemon.stopping", "gateway.leaving"):
                return
