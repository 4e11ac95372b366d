"""Generator of docs/reference/api.md: the table of routes in words, and docs/parts/api.md.

A heading ``### `GET /v1/...` `` of that file is followed by the declaration of the route in words,
and then by the text below the heading. Routes without a heading follow at a mark in that file.

Usage: python docs/generate_api.py > docs/reference/api.md
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from chromepool.gateway.http import openapi, problems
from chromepool.schema.routes import CONTROL

_PARTS = Path(__file__).parent / "parts" / "api.md"
_DOCUMENT = json.loads(openapi.document())
_SCHEMAS: dict[str, Any] = _DOCUMENT["components"]["schemas"]
_ROUTES = {
    f"{route.method} {route.path}": _DOCUMENT["paths"][route.path][route.method.lower()]
    for route in CONTROL
}
_HEADING = re.compile(r"^### `(.+)`$", re.MULTILINE)
_HTTP_ERRORS = {
    405: "The method is not allowed; `Allow` has those that are.",
    404: "The daemon serves nothing at the address.",
    413: "The body is over `max_body_bytes`.",
    415: "The content type is not supported; no route answers with it now.",
    426: "The address serves WebSockets only.",
    500: "The daemon failed to serve the request; its log has the error.",
}
"""Meanings of errors that have no class."""


def _code(text: str) -> str:
    """Return a text of the code as Markdown for a table."""
    return text.replace("``", "`").replace("\n", " ").replace("|", "\\|").strip()


def _table(head: str, rows: list[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *rows, ""]) if rows else ""


# -- values --


def _bounds(kind: dict[str, Any], low: str, high: str, unit: str = "") -> str:
    """Return the bounds of a number in words; what 63 bits can count is not worth a word."""
    least, most = kind.get(low), kind.get(high)
    above = kind.get("exclusiveMinimum")
    found = f" above {above}" if above is not None else ""
    if least is not None and most is not None and most < 1 << 62:
        found = f" {least} to {most}"
    elif least is not None:
        found = f" from {least}"
    elif most is not None:
        found += f"{',' if found else ''} up to {most}"
    return found + unit if found else ""


def _values(kind: dict[str, Any]) -> str:
    """Return the values that a schema takes, in words."""
    if "anyOf" in kind:
        return " or ".join(_values(each) for each in kind["anyOf"])
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        found = _SCHEMAS[name]
        return _values(found) if "enum" in found else f"[{name}](#{name.lower()})"
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    return _simple(kind)


def _simple(kind: dict[str, Any]) -> str:
    name = kind.get("type", "any")
    words = {"integer": "whole number", "object": "names and values", "boolean": "true, false"}
    if name == "string":
        least = {key: kind[key] for key in kind if key != "minLength" or kind[key] > 1}
        return "text" + _bounds(least, "minLength", "maxLength", " characters")
    if name == "array":
        most = _bounds(kind, "", "maxItems").strip()
        return f"list{f', {most},' if most else ''} of {_values(kind.get('items', {}))}"
    if name == "object":
        return words[name] + _bounds(kind, "", "maxProperties")
    return words.get(name, name) + _bounds(kind, "minimum", "maximum")


def _meaning(kind: dict[str, Any]) -> str:
    """Return the description of a field, its own or that of its object."""
    if "$ref" in kind:
        kind = _SCHEMAS[kind["$ref"].rpartition("/")[2]] | kind
    return kind.get("description") or next(filter(None, map(_meaning, kind.get("anyOf", ()))), "")


# -- routes --


def _parameters(told: dict[str, Any]) -> str:
    """Return a table of the parameters, whose values have the words of their errors if any."""
    rows = [
        f"| `{each['name']}` | {each['in']} "
        f"| {each['schema'].get('title') or _values(each['schema'])} "
        f"| {_code(each['description'])} |"
        for each in told["parameters"]
        if each["name"] != "id"
    ]
    return _table("| parameter | in | values | meaning |", rows)


def _content(content: dict[str, Any]) -> str:
    [(media, kind)] = content.items()
    return _values(kind["schema"]) if "$ref" in kind["schema"] else f"`{media}`"


def _body(told: dict[str, Any]) -> str:
    if "requestBody" not in told:
        return ""
    needed = "" if told["requestBody"]["required"] else ", may be left out"
    return f"Body: {_content(told['requestBody']['content'])}{needed}.\n"


def _answers(told: dict[str, Any]) -> str:
    found = [
        f"{status} {_content(answer['content'])}" if "content" in answer else f"{status}, no body"
        for status, answer in told["responses"].items()
        if int(status) < 400
    ]
    return f"Answer: {' or '.join(found)}.\n"


def _errors(told: dict[str, Any]) -> str:
    found = [
        f"{status} `{answer['description'].replace(' or ', '`, `')}`"
        for status, answer in told["responses"].items()
        if int(status) >= 400
    ]
    return f"Errors: {'; '.join(found)}.\n" if found else ""


def _route(name: str) -> str:
    """Return a heading and the declaration of its route."""
    told = _ROUTES[name]
    parts = (_body(told), _answers(told), _errors(told), _parameters(told))
    return "\n".join([f"### `{name}`\n", f"{told['summary'].rstrip('.')}.\n", *filter(None, parts)])


# -- objects and codes --


def _lacking(kind: dict[str, Any], field: str) -> str:
    """Return the value of a field that is left out."""
    if field in kind["required"]:
        return "; needed"
    default = kind["properties"][field].get("default")
    return "" if default in (None, [], {}, "") else f"; `{json.dumps(default)}` without it"


def _object(name: str) -> str:
    kind = _SCHEMAS[name]
    asked = kind.get("additionalProperties") is False  # of an answer every field is there
    rows = [
        f"| `{field}` | {_values(told)}{_lacking(kind, field) if asked else ''} "
        f"| {_code(_meaning(told))} |"
        for field, told in kind["properties"].items()
    ]
    text = kind.get("description", "").replace("``", "`").split("\n\n")[0]
    return f"### {name}\n\n{text}\n\n" + _table("| field | values | meaning |", rows)


def _codes() -> str:
    rows = {(status, k.code): _code(k.__doc__ or "") for k, status in problems.STATUSES.items()}
    for status, code in {**problems.HTTP_CODES, 500: "internal"}.items():
        rows.setdefault((status, code), _HTTP_ERRORS.get(status, ""))
    lines = [f"| {s} | `{code}` | {text} |" for (s, code), text in sorted(rows.items())]
    return _table("| status | code | meaning |", lines)


# -- the page --


def page() -> str:
    """Return the whole page."""
    parts = _PARTS.read_text()
    page = _HEADING.sub(lambda found: _route(found[1]) if found[1] in _ROUTES else found[0], parts)
    told = _HEADING.findall(parts)
    remaining = "\n".join(_route(name) for name in _ROUTES if name not in told)
    objects = "\n".join(_object(name) for name, kind in _SCHEMAS.items() if "properties" in kind)
    page = page.replace("<!-- the remaining routes -->", remaining)
    page = page.replace("<!-- the objects -->", objects)
    page = page.replace("<!-- the codes -->", _codes())
    page = page.replace("](../reference/api.md#", "](#").replace("](../reference/", "](")
    return re.sub(r"\n{3,}", "\n\n", page)


if __name__ == "__main__":
    print(page(), end="")
