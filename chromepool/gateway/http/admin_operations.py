"""The routes of the daemon as a whole, for the OpenAPI document."""

from __future__ import annotations

from chromepool import errors
from chromepool.gateway.http.operation import SECONDS, Operation
from chromepool.schema import admin as schema

_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "Seconds until it answers, unless no session is left or the drain is cancelled "
    f"before; {schema.MOST_WAIT_S:g} at most.",
    "schema": SECONDS,
}

DAEMON = (
    Operation(
        "get",
        "/v1/drain",
        "How far the daemon has drained",
        schema.DrainView,
        parameters=(_WAIT,),
        refusals=(errors.InvalidRequest, errors.ShuttingDown, errors.Restarting),
    ),
    Operation(
        "post",
        "/v1/drain",
        "Take no new sessions; end those that run at a deadline, if there is one",
        schema.DrainView,
        202,
        schema.DrainRequest,
        refusals=(errors.InvalidRequest, errors.Forbidden),
        body_needed=False,
    ),
    Operation(
        "delete",
        "/v1/drain",
        "Take sessions again",
        None,
        204,
        refusals=(errors.Forbidden,),
    ),
    Operation(
        "post",
        "/v1/reload",
        "Read the settings again and have a new gateway take over; sessions go on",
        schema.ReloadView,
        202,
        refusals=(errors.Forbidden, errors.ReloadRefused),
    ),
)
