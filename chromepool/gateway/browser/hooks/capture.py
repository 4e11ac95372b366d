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

from chromepool.gateway.browser.auto_attach import AutoAttacher, Command, Target
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.in_flight import InFlightRequests, PendingRequest
from chromepool.gateway.store.responses import Response, Wanted, text_bytes
from chromepool.gateway.store.ring import Ring

_UNDER_WAY, _UNDER_WAY_BYTES = 1000, 4 << 20
"""Requests under way that are remembered, and what they take at most."""
_BUFFER_BYTES = 16 << 20
"""What Chrome keeps of bodies, for each target, until they are fetched."""
_REST_S = 0.05
"""A target with no answer for so long is at rest."""
_LONGEST_S = 1.0
"""One that never rests is asked for its bodies all the same."""
_MOST_BYTES = _BUFFER_BYTES // 4
"""So much waits in Chrome at most, or it would let go of the oldest."""

_HEAD_BYTES = 256 << 10
"""Chrome counts a response's head to the bytes that came over the network."""


@dataclasses.dataclass(slots=True)
class _Waiting:
    """Bodies that Chrome keeps for a target and that are to be fetched."""

    target: Target
    since: float
    """When the first came (the loop's seconds),"""
    last: float
    """and the last."""
    responses: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    """Chrome's ids of the requests, and numbers of the responses."""
    encoded_bytes: int = 0

    def due(self) -> float:
        """When they are fetched if nothing happens."""
        return min(self.last + _REST_S, self.since + _LONGEST_S)


class CaptureHook:
    """Implements ``attendant.Duty``."""

    def __init__(
        self,
        auto_attacher: AutoAttacher,
        wanted: Wanted,
        kept: Ring[Response],
        most_body_bytes: int,
    ) -> None:
        self._auto_attacher, self._wanted, self._kept = auto_attacher, wanted, kept
        self._most_body_bytes = most_body_bytes
        self.under_way = InFlightRequests(_UNDER_WAY, _UNDER_WAY_BYTES)
        """What is wanted so far: what cannot be is not remembered."""
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
        self.under_way.forget(target.session)
        self._waiting.pop(target.session, None)

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """One of the network's events."""
        handler = _HANDLERS.get(event.method)
        if handler is not None:
            handler(self, str(event.params.get("requestId")), target, event.params)

    # -- the events, in the order in which they come --

    def _on_request(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        before = self.under_way.get(request_id)
        if before is not None and "redirectResponse" in params:
            self._begin(before, request_id, params["redirectResponse"])
            self._finish(before, params["timestamp"])
            if before.response is not None:
                before.response.body_error = "a redirect has none"
        redirects = [] if before is None else _untold(before, params)
        self.under_way.take(request_id)
        request, url = params["request"], str(params["request"].get("url"))
        if not self._wanted.takes_url(url) and not redirects:
            return
        exchange = PendingRequest(
            url=url,
            method=str(request.get("method")),
            type=str(params.get("type", "Other")),
            began=float(params["timestamp"]),
            wall=float(params.get("wallTime", 0.0)),
            session=target.session,
            headers=dict(request.get("headers") or {}),
            redirects=redirects,
        )
        self.under_way.add(request_id, exchange)

    def _on_request_headers(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        exchange, headers = self.under_way.get(request_id), dict(params.get("headers", {}))
        if exchange is not None:
            exchange.are_exact = True
            more = self.under_way.set_headers(request_id, headers)
            if exchange.response is not None:
                exchange.response.request_headers = headers
                self._kept.grow(exchange.number, more)

    def _on_response_headers(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        exchange, headers = self.under_way.get(request_id), dict(params.get("headers", {}))
        if exchange is None:
            return
        status = params.get("statusCode")
        while exchange.redirects:
            redirect = exchange.redirects.pop(0)
            if redirect.status == status:
                more = text_bytes(headers) - text_bytes(redirect.response_headers)
                self._put_response_headers(redirect, headers, more)
                return
        exchange.are_told = True
        more = self.under_way.set_response_headers(request_id, headers)
        self._put_response_headers(exchange, headers, more)
        if exchange.is_over:
            self.under_way.take(request_id)

    def _put_response_headers(
        self, exchange: PendingRequest, headers: dict[str, str], more: int
    ) -> None:
        if exchange.response is not None:
            exchange.response.response_headers = headers
            self._kept.grow(exchange.number, more)

    def _on_response_head(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        exchange = self.under_way.get(request_id)
        if exchange is not None:
            exchange.type = str(params.get("type", exchange.type))
            exchange.session = target.session
            exchange.will_be_told = bool(params.get("hasExtraInfo"))
            self._begin(exchange, request_id, params["response"])

    def _on_finished(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        exchange = self.under_way.get(request_id)
        if exchange is None:
            return
        exchange.is_over = True
        if exchange.are_told or not exchange.will_be_told:
            self.under_way.take(request_id)
        if exchange.response is None:
            return
        exchange.response.encoded_bytes = int(params.get("encodedDataLength", 0))
        self._finish(exchange, params["timestamp"])
        if self._wanted.bodies:
            self._fetch_later(exchange.response, exchange.number, target, request_id)

    def _on_failed(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        exchange = self.under_way.take(request_id)
        if exchange is not None and exchange.response is not None:
            exchange.response.error = str(params.get("errorText", "failed"))
            self._finish(exchange, params["timestamp"])

    # -- keeping --

    def _begin(self, exchange: PendingRequest, request_id: str, head: dict[str, Any]) -> None:
        exchange.status = status = int(head.get("status", 0))
        if not self._wanted.takes(exchange.url, exchange.type, status):
            self.under_way.take(request_id)
            return
        if not exchange.are_exact and head.get("requestHeaders"):
            exchange.headers = dict(head["requestHeaders"])
        if not exchange.response_headers:
            exchange.response_headers = dict(head.get("headers") or {})
        self.under_way.add(request_id, exchange)  # counted anew
        exchange.response = Response(
            url=exchange.url,
            method=exchange.method,
            status=status,
            status_text=str(head.get("statusText", "")),
            type=exchange.type,
            mime_type=str(head.get("mimeType", "")),
            request_headers=exchange.headers,
            response_headers=exchange.response_headers,
            started_at=datetime.datetime.fromtimestamp(exchange.wall, datetime.UTC),
            began=exchange.began,
            timing=dict(head.get("timing") or {}),
            protocol=str(head.get("protocol", "")),
            remote_address=str(head.get("remoteIPAddress", "")),
        )
        exchange.number = self._kept.add(exchange.response, exchange.response.size)

    def _finish(self, exchange: PendingRequest, at: float) -> None:
        if exchange.response is not None:
            exchange.response.duration_ms = round((float(at) - exchange.began) * 1000, 3)

    # -- bodies --

    def _fetch_later(
        self, response: Response, number: int, target: Target, request_id: str
    ) -> None:
        if response.encoded_bytes > self._most_body_bytes + _HEAD_BYTES:
            response.body_error = f"over {self._most_body_bytes} bytes"
            return
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(target.session)
        if waiting is None:
            waiting = _Waiting(target, loop.time(), loop.time())
            self._waiting[target.session] = waiting
        waiting.last = loop.time()
        waiting.responses.append((request_id, number))
        waiting.encoded_bytes += response.encoded_bytes
        if not self.under_way.has(target.session) or waiting.encoded_bytes > _MOST_BYTES:
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
            for request_id, number in waiting.responses:
                if self._kept.get(number) is not None:  # others have pushed it out, or somebody did
                    self._fetch(number, waiting.target, request_id)

    def _fetch(self, number: int, target: Target, request_id: str) -> None:
        def on_answer(answer: cdp.Incoming) -> None:
            response = self._kept.get(number)
            if response is not None:
                self._keep_body(response, number, answer)

        self._auto_attacher.ask(
            "Network.getResponseBody", {"requestId": request_id}, target, on_answer
        )

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


def _untold(before: PendingRequest, params: dict[str, Any]) -> list[PendingRequest]:
    """The redirects of a request that goes on whose headers Chrome tells only after that."""
    redirects, before.redirects = before.redirects, []
    if params.get("redirectHasExtraInfo") and not before.are_told:
        redirects.append(before)
    return redirects


_HANDLERS: dict[str, Callable[[CaptureHook, str, Target, dict[str, Any]], None]] = {
    "Network.requestWillBeSent": CaptureHook._on_request,
    "Network.requestWillBeSentExtraInfo": CaptureHook._on_request_headers,
    "Network.responseReceived": CaptureHook._on_response_head,
    "Network.responseReceivedExtraInfo": CaptureHook._on_response_headers,
    "Network.loadingFinished": CaptureHook._on_finished,
    "Network.loadingFailed": CaptureHook._on_failed,
}
