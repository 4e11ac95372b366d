"""``GET /v1/events``: everything that happens to sessions, as server-sent events."""

from __future__ import annotations

import collections
import contextlib
import datetime
from collections.abc import Iterator

import msgspec
from aiohttp import web

from chromepool.errors import HistoryUnavailable, InvalidRequest, TooManyListeners
from chromepool.gateway.event_stream import Event, Listener
from chromepool.gateway.history.database import EventRow
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.services import Services
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import utc_now

log = get_logger("chromepool.gateway.http")

MOST = 32
"""Listeners of one caller: each may have a thousand events waiting for it."""
_AGAIN_S = 5.0
"""When to try again."""
_BEAT_S = 15.0
"""A comment now and then, so that proxies do not take the silence for death."""


def _frame(event: Event) -> bytes:
    body = {
        "at": event.at,
        "name": event.name,
        "session_id": event.session_id,
        "owner": event.owner,
        **event.fields,
    }
    data = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.name.encode(), data)


def _after(request: web.Request) -> int | None:
    """The last event a client has, by its header or by ``?after=``."""
    text = request.headers.get("Last-Event-ID", request.query.get("after", ""))
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidRequest("Last-Event-ID is the number of an event.")
    return int(text)


def _event(note: EventRow) -> Event:
    """One that the journal has kept."""
    at = datetime.datetime.fromtimestamp(note.at, datetime.UTC)
    return Event(note.number, at, note.name, note.session_id, note.owner, dict(note.fields))


class _Reader:
    """One that listens. It is told the events that it may see in their order, each once; and where
    their numbers leap, that some are lost."""

    def __init__(self, identity: Identity, response: web.StreamResponse, reached: int) -> None:
        self._identity, self._response = identity, response
        self.reached = reached
        """Number of the last event that it knows, or is not to know."""

    async def tell(self, event: Event) -> None:
        """The next one there is."""
        if event.number > self.reached + 1:
            await self.lose(event.number - 1)
        self.reached = event.number
        owner = event.owner
        if self._identity.admin or (owner is not None and self._identity.sees(owner)):
            await self._response.write(_frame(event))

    async def lose(self, last: int) -> None:
        """Nobody knows any more what came until ``last``."""
        fields = {"after": self.reached, "last": last}
        await self._response.write(_frame(Event(last, utc_now(), "events.lost", fields=fields)))
        self.reached = last

    async def beat(self, comment: bytes) -> None:
        """A comment, and how far it is: after a silence it comes again from there."""
        await self._response.write(b": %s\nid: %d\n\n" % (comment, self.reached))


class Stream:
    """The handler."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify
        self._listening: collections.Counter[str] = collections.Counter()

    def add_routes(self, app: web.Application) -> None:
        """Adds the route."""
        app.router.add_get("/v1/events", self.events)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/events``: the caller's; with ``Last-Event-ID`` those since that one first."""
        identity = self._identify(request)
        after = _after(request)
        with self._place(identity.owner):
            return await self._stream(request, identity, after)

    @contextlib.contextmanager
    def _place(self, owner: str) -> Iterator[None]:
        if self._listening[owner] >= MOST:
            said = f"You listen to events {MOST} times already."
            raise TooManyListeners(said, retry_after_s=_AGAIN_S)
        self._listening[owner] += 1
        try:
            yield
        finally:
            self._listening[owner] -= 1
            self._listening += collections.Counter()  # those who listen no more are forgotten

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
        listener = events.listen(reader.reached)  # nothing is waited for in between
        try:
            await self._serve(reader, listener)
        finally:
            events.leave(listener)
        return response

    async def _catch_up(self, reader: _Reader) -> None:
        """Tells what is in memory no more, as far as the journal has it."""
        events = self._pool.runtime.events
        while reader.reached + 1 < events.first:
            missed = await self._missed(reader.reached, events.first)
            if not missed:
                break
            for note in missed:
                await reader.tell(_event(note))
        ahead = reader.reached > events.last  # it knows a daemon of which nothing is left
        if ahead or reader.reached < events.last < events.first:
            await reader.lose(events.last)

    async def _missed(self, after: int, before: int) -> list[EventRow]:
        if self._services.history is None:
            return []
        try:
            return await self._services.history.told(after, before)
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
            if event is None:  # too far behind: the client comes again with Last-Event-ID
                return
            await reader.tell(event)
            if event.name in ("daemon.stopping", "gateway.leaving"):
                return
