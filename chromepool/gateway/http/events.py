"""Handler of ``GET /v1/events``, which streams the events of sessions as server-sent events."""

import collections
import contextlib
from collections.abc import Iterator

import msgspec
from aiohttp import web
from multidict import MultiDict

from chromepool.errors import HistoryUnavailable, TooManyListeners
from chromepool.gateway.event_stream import Event, Listener
from chromepool.gateway.history.queries import events_between
from chromepool.gateway.http.identity import Identify, Identity
from chromepool.gateway.http.requests import read_query
from chromepool.gateway.http.services import Handlers, Services
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.session import utc_now
from chromepool.schema.history import EventsParams

log = get_logger("chromepool.gateway.http")

MOST = 32
"""Listeners of one caller: up to a thousand events may wait for each."""
_AGAIN_S = 5.0
"""Seconds after which a refused caller may try again."""
_BEAT_S = 15.0
"""Seconds of silence before a comment is sent, so that proxies do not drop the connection."""


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
    """Return the last event that a client has, from its header or else from its query."""
    text = request.headers.get("Last-Event-ID", request.query.get("after", ""))
    if not text:  # browsers send no number before their first event
        return None
    return int(read_query(MultiDict(after=text), EventsParams).after)


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
            return await self._services.history.read(events_between, after, before)
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
