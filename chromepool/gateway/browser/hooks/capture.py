"""Capture: storing the responses that a session's targets receive, with their bodies.

Bodies are fetched when a target has no request in flight, or its network rests: while a page loads,
Chrome and the pipe are its own. Chrome keeps the bodies meanwhile, also over a navigation
(``enableDurableMessages``; a Chrome without it may lose the bodies of a page that navigates).
https://chromedevtools.github.io/devtools-protocol/tot/Network/#method-enable
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

from chromepool.gateway.browser.auto_attach import AutoAttacher, Command, Target, TargetHook
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.in_flight import InFlightRequests, PendingRequest
from chromepool.gateway.store.responses import Response, ResponseFilter, text_bytes
from chromepool.gateway.store.ring import Ring

_MAX_REQUESTS = 1000
_MAX_REQUEST_BYTES = 4 << 20
"""Size of all requests in flight at most, without bodies."""
_BUFFER_BYTES = 16 << 20
"""Size of Chrome's buffer for the bodies of one target."""
_MAX_WAITING_BYTES = _BUFFER_BYTES // 4
"""Size of bodies that are left in Chrome at most. A full buffer drops the oldest."""
_REST_S = 0.05
"""Time without a response after which a target's network counts as at rest."""
_LONGEST_S = 1.0
"""Time after which bodies are fetched from a target that never rests."""
_HEAD_BYTES = 256 << 10
"""Allowance for a response's head, which Chrome includes in ``encodedDataLength``."""


@dataclasses.dataclass(slots=True)
class _Waiting:
    """Bodies in Chrome's buffer for one target."""

    target: Target
    since: float
    """Time of the first response, in the loop's seconds."""
    last: float
    """Time of the last response, in the loop's seconds."""
    responses: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    """Chrome's ids of the requests, and numbers of the responses."""
    encoded_bytes: int = 0

    def due(self) -> float:
        """Return the time at which the bodies are fetched unless something happens before."""
        return min(self.last + _REST_S, self.since + _LONGEST_S)


class CaptureHook(TargetHook):
    """Stores the responses that match a filter."""

    def __init__(
        self,
        auto_attacher: AutoAttacher,
        wanted: ResponseFilter,
        responses: Ring[Response],
        max_body_bytes: int,
    ) -> None:
        self._auto_attacher = auto_attacher
        self._filter = wanted
        self._responses = responses
        self._max_body_bytes = max_body_bytes
        self.in_flight = InFlightRequests(_MAX_REQUESTS, _MAX_REQUEST_BYTES)
        """Requests that may still match the filter."""
        self.events = frozenset(name.encode() for name in _HANDLERS)
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None

    def commands(self, target: Target) -> list[Command]:
        """Return the command that makes a target report its network.

        Its error is ignored: some kinds of targets have no network of their own.
        """
        durable = {"maxTotalBufferSize": _BUFFER_BYTES, "enableDurableMessages": True}
        return [("Network.enable", durable)]

    def on_detached(self, target: Target) -> None:
        """Forget the target's requests; their responses stay as they are."""
        self.in_flight.remove_session(target.session)
        self._waiting.pop(target.session, None)

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Handle an event of the network."""
        request_id = str(event.params.get("requestId"))
        _HANDLERS[event.method](self, request_id, target, event.params)

    # -- the events, in the order in which they come --

    def _on_request(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        before = self.in_flight.get(request_id)
        if before is not None and "redirectResponse" in params:
            self._begin(before, request_id, params["redirectResponse"])
            self._finish(before, params["timestamp"])
            if before.response is not None:
                before.response.body_error = "a redirect has no body"
        redirects = [] if before is None else _incomplete_redirects(before, params)
        self.in_flight.pop(request_id)
        sent = params["request"]
        url = str(sent.get("url"))
        if not self._filter.matches_url(url) and not redirects:
            return
        request = PendingRequest(
            url=url,
            method=str(sent.get("method")),
            type=str(params.get("type", "Other")),
            began=float(params["timestamp"]),
            wall=float(params.get("wallTime", 0.0)),
            session=target.session,
            headers=dict(sent.get("headers") or {}),
            redirects=redirects,
        )
        self.in_flight.add(request_id, request)

    def _on_request_headers(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        request = self.in_flight.get(request_id)
        if request is not None:
            headers = dict(params.get("headers", {}))
            request.headers_exact = True
            more = self.in_flight.set_headers(request_id, headers)
            if request.response is not None:
                request.response.request_headers = headers
                self._responses.grow(request.number, more)

    def _on_response_headers(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        request = self.in_flight.get(request_id)
        if request is None:
            return
        headers = dict(params.get("headers", {}))
        status = params.get("statusCode")
        while request.redirects:
            redirect = request.redirects.pop(0)
            if redirect.status == status:
                more = text_bytes(headers) - text_bytes(redirect.response_headers)
                self._set_response_headers(redirect, headers, more)
                return
        request.response_headers_exact = True
        more = self.in_flight.set_response_headers(request_id, headers)
        self._set_response_headers(request, headers, more)
        if request.finished:
            self.in_flight.pop(request_id)

    def _set_response_headers(
        self, request: PendingRequest, headers: dict[str, str], more: int
    ) -> None:
        if request.response is not None:
            request.response.response_headers = headers
            self._responses.grow(request.number, more)

    def _on_response_head(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        request = self.in_flight.get(request_id)
        if request is not None:
            request.type = str(params.get("type", request.type))
            request.session = target.session
            request.extra_info_expected = bool(params.get("hasExtraInfo"))
            self._begin(request, request_id, params["response"])

    def _on_finished(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        request = self.in_flight.get(request_id)
        if request is None:
            return
        request.finished = True
        if request.response_headers_exact or not request.extra_info_expected:
            self.in_flight.pop(request_id)
        if request.response is None:
            return
        request.response.encoded_bytes = int(params.get("encodedDataLength", 0))
        self._finish(request, params["timestamp"])
        if self._filter.bodies:
            self._fetch_later(request.response, request.number, target, request_id)

    def _on_failed(self, request_id: str, target: Target, params: dict[str, Any]) -> None:
        request = self.in_flight.pop(request_id)
        if request is not None and request.response is not None:
            request.response.error = str(params.get("errorText", "failed"))
            self._finish(request, params["timestamp"])

    # -- storing --

    def _begin(self, request: PendingRequest, request_id: str, head: dict[str, Any]) -> None:
        request.status = int(head.get("status", 0))
        if not self._filter.matches(request.url, request.type, request.status):
            self.in_flight.pop(request_id)
            return
        if not request.headers_exact and head.get("requestHeaders"):
            request.headers = dict(head["requestHeaders"])
        if not request.response_headers:
            request.response_headers = dict(head.get("headers") or {})
        self.in_flight.add(request_id, request)  # replaces itself, so that its new size counts
        request.response = Response(
            url=request.url,
            method=request.method,
            status=request.status,
            status_text=str(head.get("statusText", "")),
            type=request.type,
            mime_type=str(head.get("mimeType", "")),
            request_headers=request.headers,
            response_headers=request.response_headers,
            started_at=datetime.datetime.fromtimestamp(request.wall, datetime.UTC),
            began=request.began,
            timing=dict(head.get("timing") or {}),
            protocol=str(head.get("protocol", "")),
            remote_address=str(head.get("remoteIPAddress", "")),
        )
        request.number = self._responses.add(request.response, request.response.size)

    def _finish(self, request: PendingRequest, at: float) -> None:
        if request.response is not None:
            request.response.duration_ms = round((float(at) - request.began) * 1000, 3)

    # -- bodies --

    def _fetch_later(
        self, response: Response, number: int, target: Target, request_id: str
    ) -> None:
        if response.encoded_bytes > self._max_body_bytes + _HEAD_BYTES:
            response.body_error = self._too_large()
            return
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(
            target.session, _Waiting(target, loop.time(), loop.time())
        )
        waiting.last = loop.time()
        waiting.responses.append((request_id, number))
        waiting.encoded_bytes += response.encoded_bytes
        is_loading = self.in_flight.has_session(target.session)
        if not is_loading or waiting.encoded_bytes > _MAX_WAITING_BYTES:
            self._fetch_all(target.session)
        elif self._timer is None:
            self._timer = loop.call_later(_REST_S, self._fetch_due)

    def _too_large(self) -> str:
        return f"the body has over {self._max_body_bytes} bytes"

    def _fetch_due(self) -> None:
        """Fetch the bodies that are due. One timer serves all: resetting timers costs more."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for session, waiting in list(self._waiting.items()):
            if waiting.due() <= loop.time():
                self._fetch_all(session)
        if self._waiting:
            first = min(waiting.due() for waiting in self._waiting.values())
            self._timer = loop.call_at(first, self._fetch_due)

    def _fetch_all(self, session: str) -> None:
        waiting = self._waiting.pop(session, None)
        if waiting is not None:
            for request_id, number in waiting.responses:
                if self._responses.get(number) is not None:  # else newer ones or a user removed it
                    self._fetch(number, waiting.target, request_id)

    def _fetch(self, number: int, target: Target, request_id: str) -> None:
        def on_answer(answer: cdp.Incoming) -> None:
            response = self._responses.get(number)
            if response is not None:
                self._set_body(response, number, answer)

        params = {"requestId": request_id}
        self._auto_attacher.send("Network.getResponseBody", params, target, on_answer)

    def _set_body(self, response: Response, number: int, answer: cdp.Incoming) -> None:
        if answer.error is not None:  # the page has navigated, and Chrome has dropped the body
            response.body_error = answer.error.message
            return
        text = str(answer.result.get("body", ""))
        try:
            encoded = answer.result.get("base64Encoded")
            body = base64.b64decode(text) if encoded else text.encode(errors="replace")
        except binascii.Error as error:
            response.body_error = str(error)
            return
        if len(body) > self._max_body_bytes:
            response.body_error = self._too_large()
            return
        response.body = body
        self._responses.grow(number, len(body))


def _incomplete_redirects(before: PendingRequest, params: dict[str, Any]) -> list[PendingRequest]:
    """Return the redirects of a request whose exact headers Chrome reports only after it has gone
    on to the next URL."""
    redirects = before.redirects
    before.redirects = []
    if params.get("redirectHasExtraInfo") and not before.response_headers_exact:
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
