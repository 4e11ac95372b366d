"""Bodies and queries of requests, checked against the types that declare them."""

from typing import TypeVar

import msgspec
from multidict import MultiMapping

from chromepool.errors import InvalidRequest
from chromepool.schema.fields import parameters_of

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
    found: dict[str, object] = {}
    for each in parameters_of(kind):
        texts = query.getall(each.name, [])
        try:
            found |= {each.attribute: each.convert(texts)} if texts else {}
        except ValueError as error:
            given = ", ".join(texts)[:_SHOWN]
            said = f"The parameter {each.name}={given!r} is not {each.expected}."
            raise InvalidRequest(said) from error
    return kind(**found)


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
