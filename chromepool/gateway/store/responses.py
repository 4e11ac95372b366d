"""Captured responses, the filter that selects them, and requests whose response is not over."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import functools
import re
from collections.abc import Mapping
from typing import Any

from chromepool.gateway.store.ring import BoundedStore

_OVERHEAD_BYTES = 512
"""Approximate size of a response without its texts and its body."""


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseFilter:
    """Selects responses. An empty tuple matches everything."""

    urls: tuple[str, ...] = ()
    """Patterns with ``*`` and ``?``."""
    types: tuple[str, ...] = ()
    """CDP's resource types, such as Document, XHR, Fetch, Image."""
    statuses: tuple[str, ...] = ()
    """Statuses such as 404, or classes such as 5xx."""
    bodies: bool = True

    def matches(self, url: str, kind: str, status: int) -> bool:
        """Return whether the filter selects a response."""
        return (
            (not self.types or kind in self.types)
            and (not self.statuses or any(_is_status(status, s) for s in self.statuses))
            and self.matches_url(url)
        )

    def matches_url(self, url: str) -> bool:
        """Return whether the filter may select a response from this URL."""
        return not self.urls or any(_pattern(u).match(url) for u in self.urls)


@functools.lru_cache(256)
def _pattern(wanted: str) -> re.Pattern[str]:
    """Compile a shell pattern without sets of characters: URLs may contain brackets."""
    return re.compile(fnmatch.translate(wanted.replace("[", "[[]")))


def text_bytes(headers: Mapping[str, str]) -> int:
    """Return the approximate size of headers."""
    return sum(map(len, headers)) + sum(map(len, headers.values()))


def _is_status(status: int, wanted: str) -> bool:
    return bool(re.fullmatch(wanted.replace("x", "[0-9]"), str(status)))


@dataclasses.dataclass(slots=True)
class Response:
    """A response, with its request."""

    url: str
    method: str
    status: int = 0
    status_text: str = ""
    type: str = "Other"
    mime_type: str = ""
    request_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    response_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    started_at: datetime.datetime = dataclasses.field(kw_only=True)
    began: float = 0.0
    """Time of the request in CDP's monotonic seconds."""
    timing: dict[str, Any] = dataclasses.field(default_factory=dict)
    """CDP's ResourceTiming: milliseconds from its ``requestTime``."""
    protocol: str = ""
    remote_address: str = ""
    duration_ms: float | None = None
    """Time from the request to the last byte, None while the response loads."""
    encoded_bytes: int = 0
    """Bytes that came over the network."""
    error: str = ""
    """Chrome's reason why the response did not load completely."""
    body: bytes | None = None
    body_error: str = ""
    """Reason why there is no body."""

    @property
    def size(self) -> int:
        """Approximate size in memory, in bytes, without the body."""
        texts = len(self.url) + len(self.method) + len(self.status_text) + len(self.mime_type)
        headers = text_bytes(self.request_headers) + text_bytes(self.response_headers)
        return _OVERHEAD_BYTES + texts + headers


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
    """Requests by Chrome's request id, which is unique within a browser.

    So any target may report on one: the request for a worker, or for a frame of another site,
    begins in the page's target and ends in the other.
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
