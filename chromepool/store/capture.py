"""Listening to the network for a session: which responses are kept, and their bodies.

Bodies are asked for when a target has no request under way, or its network rests: while it loads it
has Chrome and the pipe to itself. Chrome keeps them meanwhile, also over a navigation
(``enableDurableMessages``; a version that does not know it may lose those of a page that moves on).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

from chromepool.browser.attendant import Attendant, Command, Target
from chromepool.cdp import message as cdp
from chromepool.store.responses import Response, Wanted
from chromepool.store.ring import Ring

_OPEN = 1000
"""Requests under way that are remembered; the oldest are forgotten first."""
_BUFFER_BYTES = 16 << 20
"""What Chrome keeps of bodies, for each target, until they are fetched."""
_REST_S = 0.05
"""A target with no answer for so long is at rest."""
_LONGEST_S = 1.0
"""One that never rests is asked for its bodies all the same."""
_MOST_BYTES = _BUFFER_BYTES // 4
"""So much waits in Chrome at most, or it would let go of the oldest."""


@dataclasses.dataclass(slots=True)
class _Exchange:
    """A request under way."""

    request: dict[str, Any]
    type: str
    began: float
    """CDP's monotonic seconds."""
    wall: float
    """The same in seconds of the day."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    """As they went over the network, where Chrome has told."""
    response_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    response: Response | None = None
    number: int = 0


@dataclasses.dataclass(slots=True)
class _Waiting:
    """Bodies that Chrome keeps for a target and that are to be fetched."""

    target: Target
    since: float
    """When the first came (the loop's seconds),"""
    last: float
    """and the last."""
    exchanges: list[tuple[str, _Exchange]] = dataclasses.field(default_factory=list)
    """With their request ids."""
    encoded_bytes: int = 0

    def due(self) -> float:
        """When they are fetched if nothing happens."""
        return min(self.last + _REST_S, self.since + _LONGEST_S)


class CaptureDuty:
    """Implements ``attendant.Duty``."""

    def __init__(
        self,
        attendant: Attendant,
        wanted: Wanted,
        kept: Ring[Response],
        most_body_bytes: int,
        on_response: Callable[[int, Response], None] = lambda number, response: None,
    ) -> None:
        self._attendant, self._wanted, self._kept = attendant, wanted, kept
        self._most_body_bytes, self._on_response = most_body_bytes, on_response
        self._open: dict[tuple[str, str], _Exchange] = {}
        self.events = frozenset(name.encode() for name in _HANDLERS)
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None

    def commands(self, target: Target) -> list[Command]:
        """Everything with a network of its own is listened to."""
        durable = {"maxTotalBufferSize": _BUFFER_BYTES, "enableDurableMessages": True}
        return [("Network.enable", durable)]

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """A kind of target that has no network is no failure."""
        return ""

    def gone(self, target: Target) -> None:
        """What it had under way stays as it is."""
        for key in [key for key in self._open if key[0] == target.session]:
            del self._open[key]
        self._waiting.pop(target.session, None)

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """One of the network's events."""
        handler = _HANDLERS.get(event.method)
        if handler is not None:
            handler(
                self, (target.session, str(event.params.get("requestId"))), target, event.params
            )

    # -- the events, in the order in which they come --

    def _on_request(self, key: tuple[str, str], target: Target, params: dict[str, Any]) -> None:
        before = self._open.pop(key, None)
        if before is not None and "redirectResponse" in params:
            self._begin(before, params["redirectResponse"])
            self._finish(before, params["timestamp"])
            if before.response is not None:
                before.response.body_error = "a redirect has none"
        began, wall = float(params["timestamp"]), float(params.get("wallTime", 0.0))
        request = dict(params["request"])
        self._open[key] = _Exchange(request, str(params.get("type", "Other")), began, wall)
        while len(self._open) > _OPEN:
            del self._open[next(iter(self._open))]

    def _on_request_headers(
        self, key: tuple[str, str], target: Target, params: dict[str, Any]
    ) -> None:
        exchange = self._open.get(key)
        if exchange is not None:
            exchange.headers = dict(params.get("headers", {}))
            if exchange.response is not None:
                exchange.response.request_headers = exchange.headers

    def _on_response_headers(
        self, key: tuple[str, str], target: Target, params: dict[str, Any]
    ) -> None:
        exchange = self._open.get(key)
        if exchange is not None:
            exchange.response_headers = dict(params.get("headers", {}))
            if exchange.response is not None:
                exchange.response.response_headers = exchange.response_headers

    def _on_response_head(
        self, key: tuple[str, str], target: Target, params: dict[str, Any]
    ) -> None:
        exchange = self._open.get(key)
        if exchange is not None:
            exchange.type = str(params.get("type", exchange.type))
            self._begin(exchange, params["response"])

    def _on_finished(self, key: tuple[str, str], target: Target, params: dict[str, Any]) -> None:
        exchange = self._open.pop(key, None)
        if exchange is None or exchange.response is None:
            return
        exchange.response.encoded_bytes = int(params.get("encodedDataLength", 0))
        self._finish(exchange, params["timestamp"])
        if self._wanted.bodies:
            self._fetch_later(exchange, target, key[1])

    def _on_failed(self, key: tuple[str, str], target: Target, params: dict[str, Any]) -> None:
        exchange = self._open.pop(key, None)
        if exchange is not None and exchange.response is not None:
            exchange.response.error = str(params.get("errorText", "failed"))
            self._finish(exchange, params["timestamp"])

    # -- keeping --

    def _begin(self, exchange: _Exchange, head: dict[str, Any]) -> None:
        status = int(head.get("status", 0))
        request = exchange.request
        if not self._wanted.takes(str(request.get("url")), exchange.type, status):
            return
        headers = exchange.headers or head.get("requestHeaders") or request.get("headers") or {}
        exchange.response = Response(
            url=str(request.get("url")),
            method=str(request.get("method")),
            status=status,
            status_text=str(head.get("statusText", "")),
            type=exchange.type,
            mime_type=str(head.get("mimeType", "")),
            request_headers=dict(headers),
            response_headers=exchange.response_headers or dict(head.get("headers") or {}),
            started_at=datetime.datetime.fromtimestamp(exchange.wall, datetime.UTC),
            timing=dict(head.get("timing") or {}),
            protocol=str(head.get("protocol", "")),
            remote_address=str(head.get("remoteIPAddress", "")),
        )
        exchange.number = self._kept.add(exchange.response, exchange.response.size)
        self._on_response(exchange.number, exchange.response)

    def _finish(self, exchange: _Exchange, at: float) -> None:
        if exchange.response is not None:
            exchange.response.duration_ms = round((float(at) - exchange.began) * 1000, 3)

    # -- bodies --

    def _fetch_later(self, exchange: _Exchange, target: Target, request_id: str) -> None:
        response = exchange.response
        assert response is not None
        if response.encoded_bytes > self._most_body_bytes:
            response.body_error = f"over {self._most_body_bytes} bytes"
            return
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(target.session)
        if waiting is None:
            waiting = _Waiting(target, loop.time(), loop.time())
            self._waiting[target.session] = waiting
        waiting.last = loop.time()
        waiting.exchanges.append((request_id, exchange))
        waiting.encoded_bytes += response.encoded_bytes
        busy = any(session == target.session for session, _ in self._open)
        if not busy or waiting.encoded_bytes > _MOST_BYTES:
            self._fetch_all(target.session)
        elif self._timer is None:
            self._timer = loop.call_later(_REST_S, self._fetch_rested)

    def _fetch_rested(self) -> None:
        """The timer's: a moved deadline costs less than a moved timer."""
        loop, self._timer = asyncio.get_running_loop(), None
        for session, waiting in list(self._waiting.items()):
            if waiting.due() <= loop.time():
                self._fetch_all(session)
        if self._waiting:
            first = min(waiting.due() for waiting in self._waiting.values())
            self._timer = loop.call_at(first, self._fetch_rested)

    def _fetch_all(self, session: str) -> None:
        waiting = self._waiting.pop(session, None)
        if waiting is not None:
            for request_id, exchange in waiting.exchanges:
                self._fetch(exchange, waiting.target, request_id)

    def _fetch(self, exchange: _Exchange, target: Target, request_id: str) -> None:
        response, number = exchange.response, exchange.number
        assert response is not None

        def on_answer(answer: cdp.Incoming) -> None:
            self._keep_body(response, number, answer)

        self._attendant.ask("Network.getResponseBody", {"requestId": request_id}, target, on_answer)

    def _keep_body(self, response: Response, number: int, answer: cdp.Incoming) -> None:
        if answer.error is not None:  # the page has gone on, and Chrome has let go of it
            response.body_error = answer.error.message
            return
        text = str(answer.result.get("body", ""))
        try:
            encoded = answer.result.get("base64Encoded")
            body = base64.b64decode(text) if encoded else text.encode(errors="replace")
        except binascii.Error as error:
            response.body_error = str(error)
            return
        if len(body) > self._most_body_bytes:
            response.body_error = f"over {self._most_body_bytes} bytes"
            return
        response.body = body
        self._kept.grow(number, len(body))


_HANDLERS: dict[str, Callable[[CaptureDuty, tuple[str, str], Target, dict[str, Any]], None]] = {
    "Network.requestWillBeSent": CaptureDuty._on_request,
    "Network.requestWillBeSentExtraInfo": CaptureDuty._on_request_headers,
    "Network.responseReceived": CaptureDuty._on_response_head,
    "Network.responseReceivedExtraInfo": CaptureDuty._on_response_headers,
    "Network.loadingFinished": CaptureDuty._on_finished,
    "Network.loadingFailed": CaptureDuty._on_failed,
}
