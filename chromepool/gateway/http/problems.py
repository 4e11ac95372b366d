"""Errors as problem documents (RFC 9457), and the table of their HTTP statuses."""

from __future__ import annotations

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

STATUSES: dict[type[errors.ChromepoolError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.SessionNotFound: 404,
    errors.TargetNotFound: 404,
    errors.ProfileInUse: 409,
    errors.ScriptExists: 409,
    errors.StoreFull: 409,
    errors.ScriptNotFound: 404,
    errors.ItemNotFound: 404,
    errors.RateLimited: 429,
    errors.CommandFailed: 502,
    errors.BrowserGone: 410,
    errors.NoAnswer: 504,
    errors.StartFailed: 503,
    errors.PoolFull: 503,
    errors.QueueFull: 503,
    errors.NoMemory: 503,
    errors.CircuitOpen: 503,
    errors.ShuttingDown: 503,
    errors.Restarting: 503,
    errors.Draining: 503,
    errors.SessionNotReady: 503,
    errors.ReloadRefused: 409,
    errors.TooManyClients: 503,
    errors.TooManyListeners: 503,
    errors.HistoryUnavailable: 503,
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
        status=status,
        body=msgspec.json.encode(problem),
        content_type="application/problem+json",
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


def _detail(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{error.method} is not allowed here; use {error.headers['Allow']}."
    if isinstance(error, web.HTTPNotFound):
        return "The daemon serves nothing at this address."
    return error.text or error.reason


def _from_http(error: web.HTTPException) -> web.Response:
    code = HTTP_CODES.get(error.status, "http_error")
    response = respond(error.status, code, _detail(error))
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
        log.exception(
            "request.failed",
            method=request.method,
            route=resource.canonical if (resource := request.match_info.route.resource) else "",
            session=request.get(NUMBER),
        )
        return respond(
            500, "internal", "The daemon failed to serve the request; its log has the error."
        )
