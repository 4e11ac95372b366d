"""Requests that are under way: bounded in number and in bytes, whatever pages ask for."""

from __future__ import annotations

import dataclasses

from chromepool.gateway.store.responses import Response, text_bytes

_OVERHEAD_BYTES = 512
"""What an exchange takes beside its texts."""


@dataclasses.dataclass(slots=True)
class PendingRequest:
    """As much of a request as may be kept of it."""

    url: str
    method: str
    type: str
    began: float
    """CDP's monotonic seconds."""
    wall: float
    """The same in seconds of the day."""
    session: str
    """The CDP session on the target that it is loaded for."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    are_exact: bool = False
    """Whether the headers are as they went over the network."""
    response_headers: dict[str, str] = dataclasses.field(default_factory=dict)
    response: Response | None = None
    number: int = 0
    """The response's."""
    status: int = 0
    are_told: bool = False
    """Whether the response's headers are as they came over the network."""
    will_be_told: bool = False
    is_over: bool = False
    """It has ended, and is here until its response's headers are told."""
    redirects: list[PendingRequest] = dataclasses.field(default_factory=list)
    """Those that led here and whose response's headers are still to be told, in their order."""
    size: int = 0
    """Bytes that it takes, with its response but without a body, as they are counted."""


class InFlightRequests:
    """Exchanges by Chrome's request id. The oldest are forgotten first.

    An id is unique in a browser: it has the number of the process that asks in it, or 128 random
    bits. So it does not matter which target tells of it. What a page asks for a worker or for a
    frame of another site begins in the page's and ends in the other's.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._exchanges: dict[str, PendingRequest] = {}
        self.bytes = 0
        """What they take."""

    def add(self, request_id: str, exchange: PendingRequest) -> None:
        """One that begins; takes the place of one with its id."""
        self.take(request_id)
        self._exchanges[request_id] = exchange
        headers = text_bytes(exchange.headers) + text_bytes(exchange.response_headers)
        before = sum(redirect.size for redirect in exchange.redirects)
        exchange.size = _OVERHEAD_BYTES + len(exchange.url) + headers + before
        self.bytes += exchange.size
        self._trim()

    def get(self, request_id: str) -> PendingRequest | None:
        """The one with this id, if it is remembered."""
        return self._exchanges.get(request_id)

    def take(self, request_id: str) -> PendingRequest | None:
        """The one with this id, which is remembered no more."""
        exchange = self._exchanges.pop(request_id, None)
        if exchange is not None:
            self.bytes -= exchange.size
        return exchange

    def set_headers(self, request_id: str, headers: dict[str, str]) -> int:
        """Gives an exchange other headers; by how many bytes they are more."""
        exchange = self._exchanges[request_id]
        more = text_bytes(headers) - text_bytes(exchange.headers)
        exchange.headers = headers
        self._grow(exchange, more)
        return more

    def set_response_headers(self, request_id: str, headers: dict[str, str]) -> int:
        """The same of its response."""
        exchange = self._exchanges[request_id]
        more = text_bytes(headers) - text_bytes(exchange.response_headers)
        exchange.response_headers = headers
        self._grow(exchange, more)
        return more

    def _grow(self, exchange: PendingRequest, size: int) -> None:
        exchange.size += size
        self.bytes += size
        self._trim()

    def forget(self, session: str) -> None:
        """The target of this session is gone, and with it what it asked for."""
        gone = [key for key, each in self._exchanges.items() if each.session == session]
        for request_id in gone:
            self.take(request_id)

    def has(self, session: str) -> bool:
        """Whether anything is under way for the target of this session."""
        exchanges = self._exchanges.values()
        return any(each.session == session and not each.is_over for each in exchanges)

    def _trim(self) -> None:
        while len(self._exchanges) > self._most or self.bytes > self._most_bytes:
            self.take(next(iter(self._exchanges)))

    def __len__(self) -> int:
        return len(self._exchanges)
