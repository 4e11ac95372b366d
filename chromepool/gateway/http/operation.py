"""One route of the control API, as the OpenAPI document tells it."""

from __future__ import annotations

import dataclasses
from typing import Any

from chromepool import errors

ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A session's id.",
    "schema": {"type": "string"},
}

SECONDS = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"}


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One route, as the document tells it."""

    method: str
    path: str
    summary: str
    answer: type | None
    status: int = 200
    body: type | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    refusals: tuple[type[errors.ChromepoolError], ...] = ()
    """What it may raise beyond what every route may."""
    body_needed: bool = True
    also: tuple[int, ...] = ()
    """Other statuses that the same answer may have."""
    media: str = "application/json"
    """Content type of the answer."""
