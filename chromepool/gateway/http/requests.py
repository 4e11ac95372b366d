"""JSON bodies of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from chromepool.errors import InvalidRequest
from chromepool.gateway.store.responses import ResponseFilter
from chromepool.schema.artifacts import CaptureRequest

T = TypeVar("T")


def read_json(data: bytes, kind: type[T]) -> T:
    """The ``kind`` in a body; raises :class:`InvalidRequest` that says where it is wrong.

    msgspec lets two of Python's own errors through: a key that is not UTF-8, and lists in lists in
    lists.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not what is taken here: {error}.") from error


def wanted(urls: Sequence[str], types: Sequence[str], statuses: Sequence[str]) -> ResponseFilter:
    """A filter of a query; raises :class:`InvalidRequest`."""
    body = {"urls": list(urls), "types": list(types), "statuses": list(statuses)}
    try:
        return make_wanted(msgspec.convert(body, CaptureRequest))
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"This is no filter: {error}.") from error


def make_wanted(request: CaptureRequest) -> ResponseFilter:
    """What a request asks for."""
    return ResponseFilter(
        tuple(request.urls), tuple(request.types), tuple(request.statuses), request.bodies
    )
