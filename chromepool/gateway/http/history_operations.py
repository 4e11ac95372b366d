"""The routes of the history, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from chromepool import errors
from chromepool.gateway.http.operation import ID, Operation
from chromepool.schema import history as schema


def _query(name: str, description: str, **kind: Any) -> dict[str, Any]:
    kind = {"type": "string"} | kind
    return {"name": name, "in": "query", "description": description, "schema": kind}


_LIMIT = {"type": "integer", "minimum": 1, "maximum": schema.MOST}
HISTORY = (
    Operation(
        "get",
        "/v1/history",
        "Sessions of the past, the newest first",
        schema.HistoryPage,
        parameters=(
            _query("since", "Those that ended in the last 90s, 15m, 2h, 7d.", pattern=schema.SINCE),
            _query("owner", "Of this owner only.", pattern=schema.OWNER),
            _query("reason", "Those that ended for this reason.", enum=list(schema.REASONS)),
            _query("limit", "Sessions in the answer; 100 without it.", **_LIMIT),
            _query("after", "`next` of the page before.", pattern=schema.CURSOR),
        ),
        refusals=(errors.InvalidRequest, errors.HistoryUnavailable),
    ),
    Operation(
        "get",
        "/v1/history/{id}",
        "A session of the past, with its events",
        schema.PastSessionWithEvents,
        parameters=(ID,),
        refusals=(errors.SessionNotFound, errors.HistoryUnavailable),
    ),
)
