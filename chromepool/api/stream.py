"""``GET /v1/events``: everything that happens to sessions, as server-sent events."""

from __future__ import annotations

import msgspec
from aiohttp import web

from chromepool.api.identity import Identify, Identity
from chromepool.errors import InvalidRequest
from chromepool.pool.events import Event, Listener
from chromepool.pool.manager import Manager

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


class Stream:
    """The handler."""

    def __init__(self, manager: Manager, identify: Identify) -> None:
        self._manager, self._identify = manager, identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the route."""
        app.router.add_get("/v1/events", self.events)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/events``: the caller's; with ``Last-Event-ID`` those since that one first."""
        identity = self._identify(request)
        after = _after(request)
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        listener = self._manager.events.listen(after)
        try:
            await self._serve(identity, listener, response)
        finally:
            self._manager.events.leave(listener)
        return response

    async def _serve(
        self, identity: Identity, listener: Listener, response: web.StreamResponse
    ) -> None:
        await response.write(b": chromepool\n\n")
        while not self._manager.stopping:
            try:
                event = await listener.next(_BEAT_S)
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if event is None:  # too far behind: the client comes again with Last-Event-ID
                return
            if identity.admin or (event.owner is not None and identity.sees(event.owner)):
                await response.write(_frame(event))
            if event.name in ("daemon.stopping", "gateway.leaving"):
                return
