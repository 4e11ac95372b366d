"""The JSON of a session's limits, made from the fields of :class:`chromepool.model.Limits`."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chromepool.model import Limits

_TYPES = typing.get_type_hints(Limits)
_FIELDS = {field.name: field for field in dataclasses.fields(Limits)}
REQUESTABLE = tuple(name for name, field in _FIELDS.items() if field.metadata["requestable"])
"""Names of the limits that a session may ask for, and that the API shows."""


def _asked(name: str) -> tuple[str, Any, None]:
    """Return the field of a request: above 0 where the operator's 0 is no cap."""
    meta = _FIELDS[name].metadata
    low = {"ge": meta["low"]} if meta["low"] else {"gt": 0}
    bounds = Meta(**low, le=meta["high"], description=meta["help"])
    return name, Annotated[_TYPES[name], bounds] | None, None


def _shown(name: str) -> tuple[str, Any]:
    """Return the field of an answer."""
    return name, Annotated[_TYPES[name], Meta(description=_FIELDS[name].metadata["help"])]


_Request: Any = msgspec.defstruct(
    "_Request",
    [_asked(name) for name in REQUESTABLE],
    forbid_unknown_fields=True,
    omit_defaults=True,
)
_View: Any = msgspec.defstruct("_View", [_shown(name) for name in REQUESTABLE])


class LimitsRequest(_Request):  # type: ignore[misc]
    """Limits that a session asks for, up to the operator's; a missing one is the operator's."""


class LimitsView(_View):  # type: ignore[misc]
    """The limits of a session, and whether the kernel enforces them."""

    enforced: Annotated[
        bool, Meta(description="True if control groups enforce the caps of memory and processes.")
    ]
