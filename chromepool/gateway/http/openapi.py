"""``/openapi.json``: the control API in OpenAPI 3.1, made from the types that check it."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from chromepool import __version__, errors
from chromepool.gateway.http.admin_operations import DAEMON
from chromepool.gateway.http.artifacts_operations import KEPT
from chromepool.gateway.http.history_operations import HISTORY
from chromepool.gateway.http.operation import ID, SECONDS, Operation
from chromepool.gateway.http.problems import STATUSES
from chromepool.schema import session

_REFERENCE = "#/components/schemas/{name}"
_ALL = {
    "name": "all",
    "in": "query",
    "description": "1: the ended ones, too, and to administrators those that wait for an owner.",
    "schema": {"type": "string", "enum": ["0", "1", "true", "false"]},
}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "Seconds to wait for a place where there is none.",
    "schema": SECONDS,
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=30`, the same as ?wait=30 (RFC 7240).",
    "schema": {"type": "string"},
}


_LOST = (errors.SessionNotFound, errors.SessionNotReady)
OPERATIONS = (
    *KEPT,
    *HISTORY,
    *DAEMON,
    Operation(
        "post",
        "/v1/sessions",
        "Create a session",
        session.SessionView,
        201,
        session.CreateSession,
        (_WAIT, _PREFER),
        errors.CREATION,
        body_needed=False,
    ),
    Operation(
        "get",
        "/v1/sessions",
        "List sessions",
        session.SessionList,
        parameters=(_ALL,),
        refusals=(errors.InvalidRequest,),
    ),
    Operation(
        "get",
        "/v1/sessions/{id}",
        "Show a session",
        session.SessionView,
        parameters=(ID,),
        refusals=_LOST,
    ),
    Operation(
        "delete",
        "/v1/sessions/{id}",
        "End a session: answered when nothing of it is left",
        None,
        204,
        parameters=(ID,),
        refusals=_LOST,
    ),
    Operation(
        "post",
        "/v1/sessions/{id}/keepalive",
        "Begin its idle timeout anew",
        session.SessionView,
        parameters=(ID,),
        refusals=_LOST,
    ),
    Operation("get", "/v1/queue", "Who waits for a place", session.QueueView),
    Operation("get", "/v1/status", "The daemon", session.StatusView),
    Operation("get", "/openapi.json", "This document", None),
    Operation("get", "/healthz", "Whether the daemon answers", session.Health),
    Operation(
        "get",
        "/readyz",
        "Whether one more session would be taken",
        session.Health,
        refusals=errors.REFUSALS,
    ),
    Operation("get", "/metrics", "Metrics for Prometheus", None, media="text/plain"),
)
_OPEN = {"/openapi.json", "/healthz", "/readyz"}
"""Routes that ask nobody who they are."""


def _json(kind: type | None, media: str = "application/json") -> dict[str, Any]:
    if kind is not None:
        return {media: {"schema": {"$ref": _REFERENCE.format(name=kind.__name__)}}}
    return {media: {"schema": {"type": "object"} if media.endswith("json") else {}}}


def _refusals(operation: Operation) -> dict[str, Any]:
    """Status → the problem documents that may come with it."""
    kinds = list(operation.refusals)
    if operation.path not in _OPEN:
        kinds.append(errors.Unauthorized)
    codes: dict[int, set[str]] = {}
    for kind in kinds:
        codes.setdefault(STATUSES[kind], set()).add(kind.code)
    if operation.body is not None:
        codes[413] = {"body_too_large"}
    return {
        str(status): {
            "description": " or ".join(sorted(found)),
            "content": _json(session.Problem, "application/problem+json"),
        }
        for status, found in sorted(codes.items())
    }


def _describe(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.status != 204:
        answer["content"] = _json(operation.answer, operation.media)
    told: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method}_{operation.path.strip('/').replace('/', '_')}",
        "parameters": list(operation.parameters),
        "responses": {
            **{str(status): answer for status in (operation.status, *operation.also)},
            **_refusals(operation),
        },
    }
    if operation.path in _OPEN:
        told["security"] = []
    if operation.body is not None:
        told["requestBody"] = {"required": operation.body_needed, "content": _json(operation.body)}
    return told


@functools.cache
def document() -> bytes:
    """The document as JSON."""
    kinds = {operation.answer for operation in OPERATIONS} | {o.body for o in OPERATIONS}
    types = [kind for kind in kinds if kind is not None] + [session.Problem]
    _, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    body = {
        "openapi": "3.1.0",
        "info": {
            "title": "chromepool",
            "version": __version__,
            "description": "A Chrome of its own for every session.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Over TCP. On the Unix socket the kernel says who calls.",
                }
            },
        },
    }
    return msgspec.json.encode(body)
