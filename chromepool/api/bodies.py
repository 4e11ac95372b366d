"""JSON bodies of requests."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from chromepool.errors import InvalidRequest

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
