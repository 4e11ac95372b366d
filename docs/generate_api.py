"""Prints docs/reference/api.md: the OpenAPI document in words, with what docs/parts/api.md adds.

A heading ``### `GET /v1/...` `` there is followed by what the document says of that route, and then
by the text below the heading. Routes without a heading follow where the parts say so.

Usage: python docs/generate_api.py > docs/reference/api.md
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from chromepool.gateway.http import openapi, problems

_PARTS = Path(__file__).parent / "parts" / "api.md"
_DOCUMENT = json.loads(openapi.document())
_SCHEMAS: dict[str, Any] = _DOCUMENT["components"]["schemas"]
_ROUTES = {
    f"{method.upper()} {path}": told
    for path, item in _DOCUMENT["paths"].items()
    for method, told in item.items()
}
_HEADING = re.compile(r"^### `(.+)`$", re.MULTILINE)
_NO_ERROR_OF_OURS = {
    405: "Another method is needed; `Allow` names it.",
    404: "No such route.",
    413: "The body is over `max_body_bytes`.",
    415: "Not given by any route now.",
    426: "The address takes WebSockets.",
    500: "A fault of the daemon; its log says more.",
}


def _code(text: str) -> str:
    """A text of the code as Markdown in a table."""
    return text.replace("``", "`").replace("\n", " ").replace("|", "\\|").strip()


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _table(head: str, rows: list[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *rows, ""]) if rows else ""


# -- values --


def _bounds(kind: dict[str, Any], low: str, high: str, unit: str = "") -> str:
    """The numbers between which something is; what 63 bits can count is no bound to speak of."""
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
    """What values a schema takes, in words."""
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
    """What a field is told to mean, by itself or by the object that it is."""
    if "description" in kind:
        return str(kind["description"])
    for each in kind.get("anyOf", ()):
        if found := _meaning(each):
            return found
    if "$ref" in kind:
        return str(_SCHEMAS[kind["$ref"].rpartition("/")[2]].get("description", ""))
    return ""


# -- routes --


def _parameters(told: dict[str, Any]) -> str:
    rows = [
        f"| `{each['name']}` | {each['in']} | {_values(each['schema'])} "
        f"| {_code(each['description'])} |"
        for each in told["parameters"]
        if each["name"] != "id"
    ]
    return _table("| parameter | in | values | meaning |", rows)


def _content(content: dict[str, Any]) -> str:
    media, kind = next(iter(content.items()))
    if "$ref" in kind["schema"]:
        return _values(kind["schema"])
    return f"`{media}`"


def _body(told: dict[str, Any]) -> str:
    if "requestBody" not in told:
        return ""
    needed = "" if told["requestBody"]["required"] else ", may be left out"
    return f"Body: {_content(told['requestBody']['content'])}{needed}.\n"


def _answers(told: dict[str, Any]) -> str:
    found = []
    for status, answer in told["responses"].items():
        if int(status) < 400:
            content = answer.get("content")
            found.append(f"{status} {_content(content)}" if content else f"{status}, no body")
    return f"Answer: {' or '.join(found)}.\n"


def _errors(told: dict[str, Any]) -> str:
    found = []
    for status, answer in told["responses"].items():
        if int(status) >= 400:
            codes = ", ".join(f"`{code}`" for code in answer["description"].split(" or "))
            found.append(f"{status} {codes}")
    return f"Errors: {'; '.join(found)}.\n" if found else ""


def _route(name: str) -> str:
    """A heading, and all that the document says of its route."""
    told = _ROUTES[name]
    parts = (_body(told), _answers(told), _errors(told), _parameters(told))
    return "\n".join([f"### `{name}`\n", f"{_sentence(told['summary'])}\n", *filter(None, parts)])


# -- objects and codes --


def _lacking(kind: dict[str, Any], field: str) -> str:
    """What a field that is left out counts as."""
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


def _objects() -> str:
    return "\n".join(_object(name) for name, kind in _SCHEMAS.items() if "properties" in kind)


def _codes() -> str:
    rows = {(status, k.code): _code(k.__doc__ or "") for k, status in problems.STATUSES.items()}
    for status, code in {**problems._HTTP_CODES, 500: "internal"}.items():
        rows.setdefault((status, code), _NO_ERROR_OF_OURS.get(status, ""))
    lines = [f"| {s} | `{code}` | {text} |" for (s, code), text in sorted(rows.items())]
    return _table("| status | code | meaning |", lines)


# -- the page --


def _remaining(parts: str) -> str:
    """The routes that the parts have no heading for."""
    told = set(_HEADING.findall(parts))
    return "\n".join(_route(name) for name in _ROUTES if name not in told)


def page() -> str:
    """The whole page."""
    parts = _PARTS.read_text()
    page = _HEADING.sub(lambda found: _route(found[1]) if found[1] in _ROUTES else found[0], parts)
    page = page.replace("<!-- the remaining routes -->", _remaining(parts))
    page = page.replace("<!-- the objects -->", _objects())
    page = page.replace("<!-- the codes -->", _codes())
    page = page.replace("](../reference/api.md#", "](#").replace("](../reference/", "](")
    return re.sub(r"\n{3,}", "\n\n", page)


if __name__ == "__main__":
    print(page(), end="")
