"""Capture: storing the responses that a session's targets receive, with their bodies.

Bodies are fetched when a target has no request in flight, or its network rests: while a page loads,
Chrome and the pipe are its own. Chrome keeps them over a navigation, if ``enableDurableMessages``
exists (https://chromedevtools.github.io/devtools-protocol/tot/Network/#method-enable).
"""

import asyncio
import base64
import binascii
import dataclasses
import datetime
import functools
from collections.abc import Callable

from chromepool.gateway.browser.auto_attach import AutoAttacher, Command, Params, Target, TargetHook
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.responses import (
    InFlightRequests,
    PendingRequest,
    Response,
    ResponseFilter,
    text_bytes,
)
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
_GET_BODY = "Network.getResponseBody"
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

    @property
    def due(self) -> float:
        """Time at which the bodies are fetched unless something happens before."""
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
        self._too_large = f"the body has over {max_body_bytes} bytes"
        self.in_flight = InFlightRequests(_MAX_REQUESTS, _MAX_REQUEST_BYTES)
        """Requests that may still match the filter."""
        self.events = frozenset(name.encode() for name in (_REQUEST, *_HANDLERS))
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None

    def commands(self, target: Target) -> list[Command]:
        """Make a target report its network, if its kind has one of its own."""
        durable = {"maxTotalBufferSize": _BUFFER_BYTES, "enableDurableMessages": True}
        return [("Network.enable", durable)]

    def on_detached(self, target: Target) -> None:
        """Forget the target's requests; their responses stay as they are."""
        self.in_flight.remove_session(target.session)
        self._waiting.pop(target.session, None)

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Handle an event of the network."""
        request_id = str(event.params.get("requestId"))
        request = self.in_flight.get(request_id)
        if event.method == _REQUEST:
            self._on_request(request_id, request, target, event.params)
        elif request is not None:
            _HANDLERS[event.method](self, request, target, event.params)

    def _on_request(
        self, request_id: str, before: PendingRequest | None, target: Target, params: Params
    ) -> None:
        redirects: list[PendingRequest] = []
        if before is not None:
            if "redirectResponse" in params:
                self._begin(before, before.response.type, params["redirectResponse"])
                self._finish(before, params)
                before.response.body_error = "a redirect has no body"
            redirects = _incomplete_redirects(before, params)
            self.in_flight.remove(request_id)
        sent = params["request"]
        url = str(sent.get("url"))
        if not self._filter.matches_url(url) and not redirects:
            return
        wall = float(params.get("wallTime", 0.0))
        response = Response(
            url=url,
            method=str(sent.get("method")),
            type=str(params.get("type", "Other")),
            request_headers=dict(sent.get("headers") or {}),
            started_at=datetime.datetime.fromtimestamp(wall, datetime.UTC),
            began=float(params["timestamp"]),
        )
        self.in_flight.add(
            PendingRequest(request_id, target.session, response, redirects=redirects)
        )

    def _on_request_headers(self, request: PendingRequest, target: Target, params: Params) -> None:
        request.request_headers_exact = True
        more = self._set_headers(request, "request_headers", params)
        self.in_flight.grow(request.id, more)

    def _on_response_headers(self, request: PendingRequest, target: Target, params: Params) -> None:
        while request.redirects:
            redirect = request.redirects.pop(0)
            if redirect.response.status == params.get("statusCode"):
                self._set_headers(redirect, "response_headers", params)
                return
        request.response_headers_exact = True
        more = self._set_headers(request, "response_headers", params)
        self.in_flight.grow(request.id, more)
        if request.finished:
            self.in_flight.remove(request.id)

    def _set_headers(self, request: PendingRequest, name: str, params: Params) -> int:
        """Set the exact headers; return by how many bytes they are longer."""
        headers = dict(params.get("headers", {}))
        more = text_bytes(headers) - text_bytes(getattr(request.response, name))
        setattr(request.response, name, headers)
        self._responses.grow(request.number, more)
        return more

    def _on_response_head(self, request: PendingRequest, target: Target, params: Params) -> None:
        request.session = target.session
        request.extra_info_expected = bool(params.get("hasExtraInfo"))
        self._begin(request, str(params.get("type", request.response.type)), params["response"])

    def _on_finished(self, request: PendingRequest, target: Target, params: Params) -> None:
        request.finished = True
        if request.response_headers_exact or not request.extra_info_expected:
            self.in_flight.remove(request.id)
        request.response.encoded_bytes = int(params.get("encodedDataLength", 0))
        self._finish(request, params)
        if self._filter.bodies and request.number:
            self._fetch_later(request, target)

    def _on_failed(self, request: PendingRequest, target: Target, params: Params) -> None:
        self.in_flight.remove(request.id)
        request.response.error = str(params.get("errorText", "failed"))
        self._finish(request, params)

    def _begin(self, request: PendingRequest, kind: str, head: Params) -> None:
        known = request.response
        sent = None if request.request_headers_exact else head.get("requestHeaders")
        response = request.response = dataclasses.replace(
            known,
            status=int(head.get("status", 0)),
            status_text=str(head.get("statusText", "")),
            type=kind,
            mime_type=str(head.get("mimeType", "")),
            request_headers=dict(sent or known.request_headers),
            response_headers=dict(known.response_headers or head.get("headers") or {}),
            timing=dict(head.get("timing") or {}),
            protocol=str(head.get("protocol", "")),
            remote_address=str(head.get("remoteIPAddress", "")),
        )
        if self._filter.matches(response.url, kind, response.status):
            self.in_flight.add(request)
            request.number = self._responses.add(response, response.size)
        else:
            self.in_flight.remove(request.id)

    def _finish(self, request: PendingRequest, params: Params) -> None:
        lasted_s = float(params["timestamp"]) - request.response.began
        request.response.duration_ms = round(lasted_s * 1000, 3)

    # -- bodies --

    def _fetch_later(self, request: PendingRequest, target: Target) -> None:
        response = request.response
        if response.encoded_bytes > self._max_body_bytes + _HEAD_BYTES:
            response.body_error = self._too_large
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = self._waiting.setdefault(target.session, _Waiting(target, now, now))
        waiting.last = now
        waiting.responses.append((request.id, request.number))
        waiting.encoded_bytes += response.encoded_bytes
        is_loading = self.in_flight.has_session(target.session)
        if not is_loading or waiting.encoded_bytes > _MAX_WAITING_BYTES:
            self._fetch_all(target.session)
        elif self._timer is None:
            self._timer = loop.call_later(_REST_S, self._fetch_due)

    def _fetch_due(self) -> None:
        """Fetch the bodies that are due. One timer serves all: resetting timers costs more."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for session, waiting in list(self._waiting.items()):
            if waiting.due <= loop.time():
                self._fetch_all(session)
        if self._waiting:
            first = min(waiting.due for waiting in self._waiting.values())
            self._timer = loop.call_at(first, self._fetch_due)

    def _fetch_all(self, session: str) -> None:
        waiting = self._waiting.pop(session)
        for request_id, number in waiting.responses:
            if self._responses.get(number) is not None:  # else newer ones or a user removed it
                params = {"requestId": request_id}
                on_answer = functools.partial(self._set_body, number)
                self._auto_attacher.send(_GET_BODY, params, waiting.target, on_answer)

    def _set_body(self, number: int, answer: cdp.Incoming) -> None:
        response = self._responses.get(number)
        if response is None:
            return
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
            response.body_error = self._too_large
        else:
            response.body = body
            self._responses.grow(number, len(body))


def _incomplete_redirects(before: PendingRequest, params: Params) -> list[PendingRequest]:
    """Return the redirects of a request whose exact headers Chrome reports later."""
    redirects = before.redirects
    before.redirects = []
    if params.get("redirectHasExtraInfo") and not before.response_headers_exact:
        redirects.append(before)
    return redirects


_REQUEST = "Network.requestWillBeSent"
_HANDLERS: dict[str, Callable[[CaptureHook, PendingRequest, Target, Params], None]] = {
    "Network.requestWillBeSentExtraInfo": CaptureHook._on_request_headers,
    "Network.responseReceived": CaptureHook._on_response_head,
    "Network.responseReceivedExtraInfo": CaptureHook._on_response_headers,
    "Network.loadingFinished": CaptureHook._on_finished,
    "Network.loadingFailed": CaptureHook._on_failed,
}
