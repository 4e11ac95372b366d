"""Listening to the network for a session: which responses are kept, and their bodies."""

from __future__ import annotations

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
"""What Chrome keeps of bodies, in each renderer, until they are fetched."""


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
        self._handlers: dict[str, Callable[[tuple[str, str], Target, dict[str, Any]], None]] = {
            "Network.requestWillBeSent": self._on_request,
            "Network.requestWillBeSentExtraInfo": self._on_request_headers,
            "Network.responseReceived": self._on_response_head,
            "Network.responseReceivedExtraInfo": self._on_response_headers,
            "Network.loadingFinished": self._on_finished,
            "Network.loadingFailed": self._on_failed,
        }

    def commands(self, target: Target) -> list[Command]:
        """Everything with a network of its own is listened to."""
        return [("Network.enable", {"maxTotalBufferSize": _BUFFER_BYTES})]

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """A kind of target that has no network is no failure."""
        return ""

    def gone(self, target: Target) -> None:
        """What it had under way stays as it is."""
        for key in [key for key in self._open if key[0] == target.session]:
            del self._open[key]

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """One of the network's events."""
        handler = self._handlers.get(event.method)
        if handler is not None:
            handler((target.session, str(event.params.get("requestId"))), target, event.params)

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
            self._fetch(exchange, target, key[1])

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

    def _fetch(self, exchange: _Exchange, target: Target, request_id: str) -> None:
        response, number = exchange.response, exchange.number
        assert response is not None
        if response.encoded_bytes > self._most_body_bytes:
            response.body_error = f"over {self._most_body_bytes} bytes"
            return

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
