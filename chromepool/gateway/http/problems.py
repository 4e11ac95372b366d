"""Errors as problem documents (RFC 9457), and the table of their HTTP statuses."""

import math
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from chromepool import errors
from chromepool.gateway.log import get_logger
from chromepool.schema.admin import Problem

log = get_logger("chromepool.gateway.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PROBLEM = web.ResponseKey("problem", str)
"""The code of the problem document in a response."""
NUMBER = web.RequestKey("number", int)
"""The number of the session that a request is about, for the log."""

_UNAVAILABLE: tuple[type[errors.ChromepoolError], ...] = (
    *errors.REFUSALS,
    *(errors.StartFailed, errors.SessionNotReady, errors.HistoryUnavailable),
    *(errors.TooManyClients, errors.TooManyListeners),
)
STATUSES = dict.fromkeys(_UNAVAILABLE, 503) | {
    errors.InvalidRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.SessionNotFound: 404,
    errors.TargetNotFound: 404,
    errors.ScriptNotFound: 404,
    errors.ItemNotFound: 404,
    errors.ProfileInUse: 409,
    errors.ScriptExists: 409,
    errors.StoreFull: 409,
    errors.ReloadRefused: 409,
    errors.BrowserGone: 410,
    errors.RateLimited: 429,
    errors.CommandFailed: 502,
    errors.NoAnswer: 504,
}
HTTP_CODES = {
    400: "invalid_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    426: "upgrade_required",
}


def respond(status: int, code: str, detail: str, remedy: str = "") -> web.Response:
    """Make a response with a problem document."""
    title = code.replace("_", " ").capitalize()
    problem = Problem(f"urn:chromepool:problem:{code}", title, status, code, detail, remedy)
    response = web.Response(
        status=status, body=msgspec.json.encode(problem), content_type="application/problem+json"
    )
    response[PROBLEM] = code
    return response


def _from_error(error: errors.ChromepoolError) -> web.Response:
    response = respond(STATUSES.get(type(error), 500), error.code, error.detail, error.remedy)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="chromepool"'
    return response


def _from_http(error: web.HTTPException) -> web.Response:
    detail = error.text or error.reason
    if isinstance(error, web.HTTPMethodNotAllowed):
        detail = f"{error.method} is not allowed here; use {error.headers['Allow']}."
    elif isinstance(error, web.HTTPNotFound):
        detail = "The daemon serves nothing at this address."
    response = respond(error.status, HTTP_CODES.get(error.status, "http_error"), detail)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into a problem document."""
    try:
        return await handler(request)
    except errors.ChromepoolError as error:
        return _from_error(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _from_http(error)
    except Exception:
        route = getattr(request.match_info.route.resource, "canonical", "")
        session = request.get(NUMBER)
        log.exception("request.failed", method=request.method, route=route, session=session)
        detail = "The daemon failed to serve the request; its log has the error."
        return respond(500, "internal", detail)
