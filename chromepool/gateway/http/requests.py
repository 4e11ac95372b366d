"""Bodies and queries of requests, checked against the types that declare them."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from multidict import MultiMapping

from chromepool.errors import InvalidRequest
from chromepool.schema.fields import Parameter, parameters_of

T = TypeVar("T")
Query = TypeVar("Query", bound=msgspec.Struct)
_SHOWN = 40
"""Characters of a wrong value that an error quotes."""


def read_json(data: bytes, kind: type[T]) -> T:
    """Decode a body; an empty one counts as ``{}``. Raises :class:`InvalidRequest`.

    msgspec lets two of Python's own errors through: for a key that is not UTF-8, and for lists
    nested too deeply.
    """
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"Invalid request body: {error}.") from error


def read_query(query: MultiMapping[str], kind: type[Query]) -> Query:
    """Read the parameters that ``kind`` declares, and ignore all others.

    Raises :class:`InvalidRequest`, with the parameter, the values it takes and what was given.
    """
    given = {each: query.getall(each.name, []) for each in parameters_of(kind)}
    return kind(**{each.attribute: _convert(each, texts) for each, texts in given.items() if texts})


def _convert(parameter: Parameter, texts: list[str]) -> object:
    try:
        return parameter.convert(texts)
    except ValueError as error:
        given = ", ".join(texts)[:_SHOWN]
        raise InvalidRequest(
            f"The parameter {parameter.name}={given!r} is not {parameter.expected}."
        ) from error


def seconds(text: str, most: float) -> float:
    """Return the seconds in a checked parameter; more than ``most`` counts as ``most``."""
    return min(float(text), most)


def preferred_wait(prefer: str | None) -> str | None:
    """Return the ``wait`` of a ``Prefer`` header (RFC 7240, 4.3)."""
    for preference in (prefer or "").split(","):
        name, equals, value = preference.partition(";")[0].partition("=")
        if equals and name.strip().lower() == "wait":
            return value.strip().strip('"')
    return None
