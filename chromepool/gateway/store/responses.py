"""What the network answered to a session's pages, as far as it asked for that to be kept."""

from __future__ import annotations

import dataclasses
import datetime
import fnmatch
import functools
import re
from collections.abc import Mapping
from typing import Any

_OVERHEAD_BYTES = 512
"""What an item takes beside its texts and its body."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which responses are kept."""

    urls: tuple[str, ...] = ()
    """Patterns with ``*`` and ``?``; none: every URL."""
    types: tuple[str, ...] = ()
    """CDP's resource types, such as Document, XHR, Fetch, Image; none: every type."""
    statuses: tuple[str, ...] = ()
    """Such as 404, or 5xx; none: every status."""
    bodies: bool = True

    def takes(self, url: str, kind: str, status: int) -> bool:
        """Whether a response is one of those."""
        return (
            (not self.types or kind in self.types)
            and (not self.statuses or any(_is_status(status, s) for s in self.statuses))
            and self.takes_url(url)
        )

    def takes_url(self, url: str) -> bool:
        """Whether a response from there may be one of those."""
        return not self.urls or any(_pattern(u).match(url) for u in self.urls)


@functools.lru_cache(256)
def _pattern(wanted: str) -> re.Pattern[str]:
    """As the shell's, but for sets of characters: URLs have brackets of their own."""
    return re.compile(fnmatch.translate(wanted.replace("[", "[[]")))


def text_bytes(headers: Mapping[str, str]) -> int:
    """What headers take, about."""
    return sum(map(len, headers)) + sum(map(len, headers.values()))


def _is_status(status: int, wanted: str) -> bool:
    return bool(re.fullmatch(wanted.replace("x", "[0-9]"), str(status)))


@dataclasses.dataclass(slots=True)
class Response:
    """One response, with what was asked for it."""

    url: str
    method: str
    status: int
    status_text: str
    type: str
    mime_type: str
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    started_at: datetime.datetime
    began: float = 0.0
    """The same in CDP's monotonic seconds."""
    timing: dict[str, Any] = dataclasses.field(default_factory=dict)
    """CDP's ResourceTiming, in milliseconds from its ``requestTime``."""
    protocol: str = ""
    remote_address: str = ""
    duration_ms: float | None = None
    """From the request to the last byte; None while it loads."""
    encoded_bytes: int = 0
    """As they came over the network."""
    error: str = ""
    """Why it was not loaded to its end."""
    body: bytes | None = None
    body_error: str = ""
    """Why there is no body."""

    @property
    def size(self) -> int:
        """Bytes that keeping it takes, without the body."""
        texts = len(self.url) + len(self.method) + len(self.status_text) + len(self.mime_type)
        headers = text_bytes(self.request_headers) + text_bytes(self.response_headers)
        return _OVERHEAD_BYTES + texts + headers
