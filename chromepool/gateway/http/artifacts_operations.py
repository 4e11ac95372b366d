"""The routes of what a session keeps, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from chromepool import errors
from chromepool.gateway.http.operation import ID, Operation
from chromepool.schema import artifacts as schema

_BASE = "/v1/sessions/{id}"


def _parameter(place: str, name: str, description: str, **kind: Any) -> dict[str, Any]:
    kind = {"type": "string"} | kind
    found = {"name": name, "in": place, "description": description, "schema": kind}
    return found | ({"required": True} if place == "path" else {})


def _query(name: str, description: str, **kind: Any) -> dict[str, Any]:
    return _parameter("query", name, description, **kind)


_NAME = _parameter("path", "name", "Its name.")
_SCRIPT = _parameter("path", "name", "Its name.", pattern=schema.NAME)
_NUMBER = _parameter("path", "number", "Its number.")
_TARGET = _query("target", "Id of the page; without it the newest.")
_URL = _query("url", "Only of URLs of this pattern, with * and ?.", minLength=1, maxLength=2048)
_TYPE = _query("type", "Only of this resource type.", enum=list(schema.TYPES))
_STATUS = _query("status", "Only of this status, such as 404 or 5xx.", pattern=schema.STATUS)
_FORMAT = _query("format", "Of the picture.", enum=["png", "jpeg", "webp"])
_FULL = _query("full", "1: all of the page.", enum=["0", "1"])
_LANDSCAPE = _query("landscape", "1: wider than high.", enum=["0", "1"])
_LEVEL = _query("level", "Only of this level.")
_AFTER = _query("after", "Number of the last event a client has.", pattern=r"^[0-9]{1,15}$")
_LOST = (errors.SessionNotFound,)
_NO_ITEM = (errors.SessionNotFound, errors.ItemNotFound)
_NO_SCRIPT = (errors.SessionNotFound, errors.ScriptNotFound)
_CHROME = (errors.BrowserGone, errors.NoAnswer, errors.CommandFailed)
_SCRIPTS = (errors.InvalidRequest, errors.StoreFull, *_CHROME)
_PAGE = (errors.SessionNotFound, errors.TargetNotFound, errors.InvalidRequest, *_CHROME)
_ANY = "application/octet-stream"


def _of(method: str, path: str, summary: str, answer: type | None, **more: Any) -> Operation:
    parameters = (ID, *more.pop("parameters", ()))
    refusals = more.pop("refusals", _LOST)
    return Operation(
        method, _BASE + path, summary, answer, parameters=parameters, refusals=refusals, **more
    )


KEPT = (
    _of("get", "/scripts", "Persistent scripts, in the order in which they run", schema.ScriptList),
    _of(
        "post",
        "/scripts",
        "Add a persistent script",
        schema.ScriptView,
        status=201,
        body=schema.AddScript,
        refusals=(errors.SessionNotFound, errors.ScriptExists, *_SCRIPTS),
    ),
    _of(
        "get",
        "/scripts/{name}",
        "Show one",
        schema.ScriptView,
        parameters=(_SCRIPT,),
        refusals=_NO_SCRIPT,
    ),
    _of(
        "put",
        "/scripts/{name}",
        "Replace one in its place, or add it (201)",
        schema.ScriptView,
        body=schema.PutScript,
        parameters=(_SCRIPT,),
        also=(201,),
        refusals=(errors.SessionNotFound, *_SCRIPTS),
    ),
    _of(
        "delete",
        "/scripts/{name}",
        "Remove one everywhere",
        None,
        status=204,
        parameters=(_SCRIPT,),
        refusals=(*_NO_SCRIPT, *_CHROME),
    ),
    _of(
        "get",
        "/responses",
        "Responses that are kept",
        schema.ResponseList,
        parameters=(_URL, _TYPE, _STATUS),
        refusals=(errors.SessionNotFound, errors.InvalidRequest),
    ),
    _of("delete", "/responses", "Forget them", None, status=204),
    _of(
        "get",
        "/responses/{number}",
        "Show one",
        schema.ResponseView,
        parameters=(_NUMBER,),
        refusals=_NO_ITEM,
    ),
    _of(
        "get",
        "/responses/{number}/body",
        "Its body, with the content type it came with",
        None,
        parameters=(_NUMBER,),
        refusals=_NO_ITEM,
        media="*/*",
    ),
    _of(
        "delete",
        "/responses/{number}",
        "Forget one",
        None,
        status=204,
        parameters=(_NUMBER,),
        refusals=_NO_ITEM,
    ),
    _of("get", "/har", "The responses as HAR 1.2", None),
    _of("get", "/console", "What its pages said", schema.ConsoleList, parameters=(_LEVEL,)),
    _of("delete", "/console", "Forget it", None, status=204),
    _of("get", "/stderr", "The last of Chrome's stderr", None, media="text/plain"),
    _of("get", "/downloads", "Files it has downloaded", schema.DownloadList, refusals=_NO_ITEM),
    _of(
        "get",
        "/downloads/{name}",
        "One of them",
        None,
        parameters=(_NAME,),
        refusals=_NO_ITEM,
        media=_ANY,
    ),
    _of(
        "delete",
        "/downloads/{name}",
        "Remove one",
        None,
        status=204,
        parameters=(_NAME,),
        refusals=_NO_ITEM,
    ),
    _of(
        "get",
        "/screenshot",
        "A picture of its page",
        None,
        parameters=(_TARGET, _FORMAT, _FULL),
        refusals=_PAGE,
        media="image/*",
    ),
    _of(
        "get",
        "/pdf",
        "Its page as PDF",
        None,
        parameters=(_TARGET, _LANDSCAPE),
        refusals=_PAGE,
        media="application/pdf",
    ),
    _of(
        "get",
        "/content",
        "Its page's document as HTML",
        None,
        parameters=(_TARGET,),
        refusals=_PAGE,
        media="text/html",
    ),
    Operation(
        "get",
        "/v1/events",
        "What happens to sessions, as server-sent events",
        None,
        parameters=(_AFTER,),
        refusals=(errors.InvalidRequest, errors.TooManyListeners),
        media="text/event-stream",
    ),
)
