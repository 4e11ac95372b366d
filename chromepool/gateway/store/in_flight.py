"""Requests in flight: bounded in number and in bytes, whatever pages request."""

from __future__ import annotations

import dataclasses

from chromepool.gateway.store.responses import Response, text_bytes

_OVERHEAD_BYTES = 512
"""Approximate size of a request without its texts."""


@dataclasses.dataclass(slots=True)
class PendingRequest:
    """The parts of a request that capture may need later."""

    url: str
    method: str
    type: str
    began: float
    """Time of the request in CDP's monotonic seconds."""
    wall: float
    """Time of the request in seconds since 1970."""
    session: str
    """The CDP session on the target that loads it."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    headers_exact: bool = False
    """True if the headers are those that went over the network."""
    response_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    response: Response | None = None
    number: int = 0
    """Number of the response in its ring."""
    status: int = 0
    response_headers_exact: bool = False
    """True if the response's headers are those that came over the network."""
    extra_info_expected: bool = False
    """True if Chrome will report the exact headers of the response."""
    finished: bool = False
    """True for a finished request that stays until Chrome reports the response's exact headers."""
    redirects: list[PendingRequest] = dataclasses.field(default_factory=list)
    """Redirects that led here and still lack their exact headers, in their order."""
    size: int = 0
    """Size in bytes as :class:`InFlightRequests` counts it, without a body."""


class InFlightRequests:
    """Requests by Chrome's request id. The oldest are removed first.

    A request id is unique within a browser: it contains the number of the process that makes the
    request, or 128 random bits. So any target may report on it. A request for a worker, or for a
    frame of another site, begins in the page's target and ends in the other.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._requests: dict[str, PendingRequest] = {}
        self.bytes = 0
        """Size of all requests."""

    def add(self, request_id: str, request: PendingRequest) -> None:
        """Add a request, and replace one with the same id."""
        self.pop(request_id)
        self._requests[request_id] = request
        headers = text_bytes(request.headers) + text_bytes(request.response_headers)
        redirects = sum(redirect.size for redirect in request.redirects)
        request.size = _OVERHEAD_BYTES + len(request.url) + headers + redirects
        self.bytes += request.size
        self._trim()

    def get(self, request_id: str) -> PendingRequest | None:
        """Return the request with this id, if there is one."""
        return self._requests.get(request_id)

    def pop(self, request_id: str) -> PendingRequest | None:
        """Remove and return the request with this id, if there is one."""
        request = self._requests.pop(request_id, None)
        if request is not None:
            self.bytes -= request.size
        return request

    def set_headers(self, request_id: str, headers: dict[str, str]) -> int:
        """Replace a request's headers; return by how many bytes the new ones are longer."""
        request = self._requests[request_id]
        more = text_bytes(headers) - text_bytes(request.headers)
        request.headers = headers
        return self._grow(request, more)

    def set_response_headers(self, request_id: str, headers: dict[str, str]) -> int:
        """Replace a response's headers; return by how many bytes the new ones are longer."""
        request = self._requests[request_id]
        more = text_bytes(headers) - text_bytes(request.response_headers)
        request.response_headers = headers
        return self._grow(request, more)

    def _grow(self, request: PendingRequest, more: int) -> int:
        request.size += more
        self.bytes += more
        self._trim()
        return more

    def remove_session(self, session: str) -> None:
        """Remove the requests of a target that is gone, by its session."""
        gone = [key for key, request in self._requests.items() if request.session == session]
        for request_id in gone:
            self.pop(request_id)

    def has_session(self, session: str) -> bool:
        """Return whether the target of this session is still loading something."""
        return any(r.session == session and not r.finished for r in self._requests.values())

    def _trim(self) -> None:
        while len(self._requests) > self._max_items or self.bytes > self._max_bytes:
            self.pop(next(iter(self._requests)))

    def __len__(self) -> int:
        return len(self._requests)
