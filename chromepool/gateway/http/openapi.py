"""``/openapi.json``: the control API in OpenAPI 3.1, made from the table of its routes."""

import functools
from typing import Any

import msgspec

from chromepool import __version__, errors
from chromepool.gateway.http.problems import STATUSES
from chromepool.schema.admin import Problem
from chromepool.schema.fields import Parameter, parameters_of
from chromepool.schema.routes import CONTROL, Route

_REFERENCE = "#/components/schemas/{name}"


def _content(kind: type | None, media: str = "application/json") -> dict[str, Any]:
    if kind is not None:
        return {media: {"schema": {"$ref": _REFERENCE.format(name=kind.__name__)}}}
    return {media: {"schema": {"type": "object"} if media.endswith("json") else {}}}


def _parameter(place: str, parameter: Parameter) -> dict[str, Any]:
    found = {name: getattr(parameter, name) for name in ("name", "description", "schema")}
    return found | {"in": place} | ({"required": True} if place == "path" else {})


def _parameters(route: Route) -> list[dict[str, Any]]:
    places = {"path": route.parameters, "query": route.query, "header": route.headers}
    return [
        _parameter(place, parameter)
        for place, kind in places.items()
        if kind is not None
        for parameter in parameters_of(kind)
    ]


def _refusals(route: Route) -> dict[str, Any]:
    """Map statuses to the problem documents that may come with them."""
    codes: dict[int, set[str]] = {}
    for kind in (*route.refusals, *(() if route.public else (errors.Unauthorized,))):
        codes.setdefault(STATUSES[kind], set()).add(kind.code)
    if route.body is not None:
        codes[413] = {"body_too_large"}
    return {
        str(status): {
            "description": " or ".join(sorted(found)),
            "content": _content(Problem, "application/problem+json"),
        }
        for status, found in sorted(codes.items())
    }


def _describe(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.status != 204:
        answer["content"] = _content(route.answer, route.media)
    responses = dict.fromkeys(map(str, (route.status, *route.also)), answer)
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}_{route.path.strip('/').replace('/', '_')}",
        "parameters": _parameters(route),
        "responses": responses | _refusals(route),
    }
    if route.public:
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = {"required": route.body_needed, "content": _content(route.body)}
    return operation


@functools.cache
def document() -> bytes:
    """Return the document as JSON."""
    kinds = {kind for route in CONTROL for kind in (route.answer, route.body, Problem) if kind}
    _, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for route in CONTROL:
        paths.setdefault(route.path, {})[route.method.lower()] = _describe(route)
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
                    "description": "Token over TCP; on the Unix socket the kernel identifies "
                    "the caller.",
                }
            },
        },
    }
    return msgspec.json.encode(body)
