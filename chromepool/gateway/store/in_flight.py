"""Requests in flight: bounded in number and in bytes, whatever pages request."""

from __future__ import annotations

import dataclasses

from chromepool.gateway.store.responses import Response
from chromepool.gateway.store.ring import BoundedStore


@dataclasses.dataclass(slots=True)
class PendingRequest:
    """A request that is not over, with as much of its response as is known."""

    id: str
    """Chrome's request id."""
    session: str
    """The CDP session on the target that loads it."""
    response: Response
    number: int = 0
    """Number of the response in its ring, 0 until it is stored."""
    request_headers_exact: bool = False
    """True if the headers are those that went over the network."""
    response_headers_exact: bool = False
    """True if the response's headers are those that came over the network."""
    extra_info_expected: bool = False
    """True if Chrome will report the exact headers of the response."""
    finished: bool = False
    """True for a finished request that stays until Chrome reports the response's exact headers."""
    redirects: list[PendingRequest] = dataclasses.field(default_factory=list)
    """Redirects that led here and still lack their exact headers, in their order."""

    @property
    def size(self) -> int:
        """Approximate size in memory, in bytes, without a body."""
        return self.response.size + sum(redirect.size for redirect in self.redirects)


class InFlightRequests(BoundedStore[str, PendingRequest]):
    """Requests by Chrome's request id.

    A request id is unique within a browser: it contains the number of the process that makes the
    request, or 128 random bits. So any target may report on it. A request for a worker, or for a
    frame of another site, begins in the page's target and ends in the other.
    """

    def add(self, request: PendingRequest) -> None:
        """Add a request, or measure it again."""
        self.put(request.id, request, request.size)

    def remove_session(self, session: str) -> None:
        """Remove the requests of a target that is gone, by its session."""
        for request_id, request in self:
            if request.session == session:
                self.remove(request_id)

    def has_session(self, session: str) -> bool:
        """Return whether the target of this session is still loading something."""
        return any(r.session == session and not r.finished for _, r in self)
