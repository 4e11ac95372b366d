"""Recorder of what programs meet on the wire: routes, objects, errors, events, WebSockets."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import MultiDict

from chromepool import errors

from . import adapters, spoken

Json = Any
_PROSE = {"title", "description", "summary"}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_ID = "0" * 32


# -- the control API's document --


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _shape(schema: dict[str, Any]) -> Json:
    """Reduce a JSON schema to what a program sees of it."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _PROSE:
            continue
        if key == "properties":
            found[key] = {name: _shape(each) for name, each in value.items()}
        elif key == "anyOf":
            found[key] = sorted((_shape(each) for each in value), key=_text)
        elif key in ("enum", "required"):
            found[key] = sorted(value)
        else:
            found[key] = _shape(value) if isinstance(value, dict) and key != "default" else value
    return found


def _content(content: dict[str, Any]) -> Json:
    return {media: _shape(told["schema"]) for media, told in content.items()}


def _response(status: str, told: dict[str, Any]) -> Json:
    found: dict[str, Any] = {"content": _content(told.get("content", {}))}
    if int(status) >= 400:  # the description lists the problems' codes
        words = re.findall(r"[a-z]+(?:_[a-z]+)*", told["description"])
        found["codes"] = sorted(set(words) - {"or"})
    return found


def _operation(told: dict[str, Any]) -> Json:
    found: dict[str, Any] = {
        "operationId": told["operationId"],
        "asks for a token": told.get("security") != [],
        "parameters": {
            f"{each['in']} {each['name']}": {
                "required": each.get("required", False),
                "schema": _shape(each["schema"]),
            }
            for each in told["parameters"]
        },
        "responses": {
            status: _response(status, each) for status, each in told["responses"].items()
        },
    }
    if "requestBody" in told:
        body = told["requestBody"]
        found["requestBody"] = {
            "required": body["required"],
            "content": _content(body["content"]),
        }
    return found


def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(adapters.openapi_document())
    return found


def openapi() -> Json:
    """Describe ``/openapi.json``: routes, parameters, answers, problems, objects."""
    told = _document()
    components = told["components"]
    return {
        "openapi": told["openapi"],
        "title": told["info"]["title"],
        "servers": told["servers"],
        "security": told["security"],
        "securitySchemes": {
            name: {key: value for key, value in each.items() if key not in _PROSE}
            for name, each in components["securitySchemes"].items()
        },
        "paths": {
            path: {method: _operation(each) for method, each in item.items()}
            for path, item in told["paths"].items()
        },
        "schemas": {name: _shape(each) for name, each in components["schemas"].items()},
    }


# -- routes --


def _below(base: str) -> Iterator[str]:
    """Give the addresses of one session below ``base``, with their spellings."""
    for path in ("/json", "/json/list", "/json/version", "/json/protocol"):
        yield from (base + path, f"{base}{path}/")
    yield from (base + path for path in ("/json/new", "/json/activate/T", "/json/close/T"))
    yield from (base + path for path in ("/devtools/browser/G", "/devtools/page/T"))
    yield from (base + path for path in ("/json/activate", "/json/close", "/json/list/x"))
    yield from (base + path for path in ("/devtools/page", "/devtools/page/T/x"))


DEVTOOLS_PATHS = (
    *("/", "/chrome", "/chromium", "/chrome/", "/chromium/", "/devtools", "/favicon.ico"),
    *_below(""),
    *_below(f"/sessions/{_ID}"),
    *("/sessions", "/sessions/", f"/sessions/{_ID}"),
    # browserless has these, and chromepool says plainly that it has not
    *("/pdf", "/screenshot", "/content", "/function", "/playwright/chromium"),
)
"""Addresses that every tree is asked for; some have to stay without an answer."""


def control_paths() -> list[str]:
    """Give the addresses of the control API's document, with something filled in."""
    filled = {"id": _ID, "name": "x", "number": "1"}
    return sorted(path.format(**filled) for path in _document()["paths"])


async def _serves(app: web.Application, method: str, path: str) -> bool:
    """Tell whether an application has a handler for a request."""
    request = make_mocked_request(method, path, app=app)
    found = await app.router.resolve(request)
    if found.http_exception is not None:
        return False
    if found.route.method != "*":
        return True
    request._match_info = found
    try:  # its handler looks at the method itself
        await found.handler(request)
    except web.HTTPMethodNotAllowed:
        return False
    except errors.SessionNotFound:
        return True
    return True


async def _served(app: web.Application, paths: list[str]) -> Json:
    return {
        path: [method for method in _METHODS if await _serves(app, method, path)] for path in paths
    }


def _modes() -> dict[str, web.Application]:
    control_tcp = {"control_tcp": True, "tokens_file": "/tokens"}
    return {
        "control": adapters.control_app(),
        "devtools": adapters.devtools_app(),
        "devtools with control_tcp": adapters.devtools_app(**control_tcp),
        "devtools with metrics_tcp": adapters.devtools_app(metrics_tcp=True),
    }


def routes() -> Json:
    """Tell for each listener and address which methods are served; none is a 404."""
    paths = sorted({*DEVTOOLS_PATHS, *control_paths()})

    async def ask() -> Json:
        return {mode: await _served(app, paths) for mode, app in _modes().items()}

    return asyncio.run(ask())


def unasked_routes() -> set[str]:
    """Find routes of this tree that no address of :func:`routes` leads to."""
    paths = {*DEVTOOLS_PATHS, *control_paths()}

    async def ask() -> set[str]:
        every, met = set(), set()
        for app in _modes().values():
            every |= {route.resource.canonical for route in app.router.routes() if route.resource}
            for path in paths:
                for method in _METHODS:
                    request = make_mocked_request(method, path, app=app)
                    found = await app.router.resolve(request)
                    if found.http_exception is None and found.route.resource:
                        met.add(found.route.resource.canonical)
        return every - met

    return asyncio.run(ask())


# -- errors --


def error_types() -> dict[str, type[errors.ChromepoolError]]:
    found = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.ChromepoolError)
    }
    return {name: kind for name, kind in found.items() if not name.startswith("_")}


async def _answer(error: Exception) -> Json:
    """Tell how the API answers an exception."""

    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    response = await adapters.problem_middleware()(make_mocked_request("GET", "/"), handler)
    body = json.loads(response.body)
    told = {key: body.get(key) for key in ("type", "title", "status", "code")}
    headers = {k: v for k, v in response.headers.items() if k not in ("Content-Length", "Date")}
    return told | {"http status": response.status, "keys": sorted(body), "headers": headers}


def _http_exceptions() -> dict[str, Exception]:
    return {
        "400": web.HTTPBadRequest(),
        "404": web.HTTPNotFound(),
        "405": web.HTTPMethodNotAllowed("GET", ["PUT"]),
        "409": web.HTTPConflict(),
        "413": web.HTTPRequestEntityTooLarge(1, 2),
        "415": web.HTTPUnsupportedMediaType(),
        "426": web.HTTPUpgradeRequired(),
    }


def problems() -> Json:
    """Tell the code of each error, and the problem document with which the API answers it."""

    async def ask() -> Json:
        found: dict[str, Any] = {"codes": {}, "answers": {}, "http": {}}
        for name, kind in error_types().items():
            found["codes"][name] = kind.code
            answer = await _answer(kind("why", remedy="what to do", retry_after_s=1.2))
            if answer["http status"] != 500:  # of the rest no route speaks
                found["answers"][name] = answer
        for status, error in _http_exceptions().items():
            found["http"][status] = await _answer(error)
        found["without a remedy"] = await _answer(errors.PoolFull("why"))
        with mock.patch.object(logging.Logger, "handle"):
            found["fault"] = await _answer(RuntimeError("why"))
        return found

    return asyncio.run(ask())


# -- events --

_ROW = re.compile(r"^\| ((?:`[a-z]+\.[a-z_]+`(?:, )?)+) \|[^|]*\|([^|]*)\|", re.MULTILINE)


def documented_events() -> dict[str, list[str]]:
    """Read the table of events: the names, and the fields of each."""
    found = {}
    for names, fields in _ROW.findall(adapters.events_page()):
        for name in re.findall(r"`([^`]+)`", names):
            found[name] = sorted(re.findall(r"`([^`]+)`", fields))
    return found


def _frame(frame: bytes) -> Json:
    """Take an event apart as a client of server-sent events does."""
    lines = frame.decode().split("\n")
    found: dict[str, Any] = dict(line.split(": ", 1) for line in lines if line)
    return found | {"data": json.loads(found["data"]), "ends": lines[-2:]}


def events() -> Json:
    """Describe the events: names and fields as documented, whether code has them, one as sent."""
    documented = documented_events()
    return {
        "documented": documented,
        "emitted": {name: spoken.emitted(name) for name in documented},
        "fields in code": {
            name: {field: spoken.field_in_code(name, field) for field in fields}
            for name, fields in documented.items()
        },
        "frame": _frame(adapters.event_frame(7, "session.created", {"labels": {}, "warm": True})),
    }


# -- WebSockets --


def _code_for(data: bytes, limit: int = 64) -> int | None:
    """Return the code with which what a client sends is answered, if it is."""
    try:
        adapters.read_frames(limit, data)
    except Exception as error:
        return int(getattr(error, "code", 0))
    return None


def _close_code_of(payload: bytes) -> str:
    try:
        return f"taken as {adapters.read_close(payload)}"
    except Exception as error:
        return f"refused with {getattr(error, 'code', 0)}"


def close_codes() -> Json:
    """Tell the WebSocket close codes, by their meaning and as faulty clients get them."""
    codes, faults = adapters.close_codes(), adapters.end_reasons()
    by_fault = codes["a session ends by a fault of its browser"]
    mask = b"\x00" * 4
    frames = {
        "good": b"\x81\x82" + mask + b"ok",
        "not masked": b"\x81\x02ok",
        "reserved bit": b"\xc1\x82" + mask + b"ok",
        "unknown opcode": b"\x83\x80" + mask,
        "ping in fragments": b"\x09\x80" + mask,
        "long ping": b"\x89\xfe\x00\x7e" + mask + b"x" * 126,
        "continuation of nothing": b"\x80\x80" + mask,
        "message in a message": b"\x01\x80" + mask + b"\x81\x80" + mask,
        "too long": b"\x81\xfe\x00\xff" + mask + b"x" * 255,
        "too long in fragments": b"\x01\xbc" + mask + b"x" * 60 + b"\x80\xbc" + mask + b"x" * 60,
    }
    closes = {"empty": b"", "half": b"\x03"}
    numbers = (999, 1000, 1001, 1004, 1005, 1006, 1011, 1012, 1015, 3000, 4999, 5000)
    closes |= {str(number): number.to_bytes(2, "big") for number in numbers}
    page = adapters.close_codes_page()
    return {
        "meanings": codes,
        "reasons": {
            reason: by_fault if fault else codes["a session ends on purpose"]
            for reason, fault in faults.items()
        },
        "frames": {name: _code_for(data) for name, data in frames.items()},
        "closes": {name: _close_code_of(payload) for name, payload in closes.items()},
        "documented": sorted(set(re.findall(r"^\| (1\d{3}) \|", page, re.MULTILINE))),
    }


# -- connect-and-go --

_LAUNCH = json.dumps(
    {
        "args": ["--lang=de", "--no-sandbox", "--proxy-server=p:1"],
        "acceptInsecureCerts": True,
        "defaultViewport": {"width": 3, "height": 4, "deviceScaleFactor": 2, "isMobile": True},
        "headless": True,
        "timeout": 5,
        "slowMo": 1,
    }
)
_LAUNCH_64 = "eyJhcmdzIjogWyItLWxhbmc9ZGUiXX0="  # {"args": ["--lang=de"]}
QUERIES = (
    *("", "token=t&wait=1&keepalive=60", "label=a=b&label=c=", "label=a", "viewport=8x6"),
    *("viewport=8", "idle_timeout_s=5", "max_age_s=5.5", "user_agent=x", "locale=de-DE"),
    *("timezone=Europe/Berlin", "downloads=allow", "downloads=maybe", "proxy=http://p:1"),
    *("proxy=p:1", "proxy_bypass=a,b", "ignore_certificate_errors=true", "profile=p"),
    *("console=true", "memory_bytes=67108864", "heap_bytes=16000000", "pids=64", "files=256"),
    *("cpu_cores=0.5", "cpu_weight=7", "memory_bytes=1", "flag=--lang=de&flag=--window-size=1,1"),
    *("--lang=de", "--mute-audio", "--no-sandbox=", "--remote-debugging-port=1", "timeout=1500"),
    *("--user-agent=x", "--proxy-server=p:1", "--proxy-bypass-list=a", "timeout=x"),
    *("--ignore-certificate-errors", "headless=true&slowMo=1&devtools=1&dumpio=1&pipe=1"),
    *("handleSIGINT=1&handleSIGTERM=1", "stealth", "blockAds=true", "trackingId=x"),
    *("scripts=[]", "capture={}", "limits={}", "labels={}", "launch={", "launch=[]"),
    f"launch={_LAUNCH}",
    f"launch={_LAUNCH_64}",
    *('launch={"userDataDir": "/x"}', 'launch={"stealth": true}', 'launch={"stealth": false}'),
    *('launch={"defaultViewport": null}', 'launch={"executablePath": "/x"}', 'launch={"args": 1}'),
    'launch={"defaultViewport": {"width": 1, "height": 1, "hasTouch": 1, "isLandscape": 1}}',
)
"""Queries of ``ws://host:port/?...`` that every tree is asked to read."""
LEFT_OUT = (
    *("--no-sandbox", "--disable-setuid-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
    *("--headless", "--headless=new", "--hide-scrollbars", "--mute-audio", "--no-first-run"),
    *("--no-zygote", "--single-process", "--disable-background-timer-throttling"),
    *("--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"),
    *("--remote-debugging-port=9222", "--remote-debugging-pipe"),
)
"""Flags that are taken and come to nothing."""


def _read(query: str) -> Json:
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    try:
        found = adapters.read_query(MultiDict(pairs))
    except errors.ChromepoolError as error:
        return f"refused: {error.code}"
    return {name: value for name, value in found.items() if value != {}}


def queries() -> Json:
    """Tell what queries of connect-and-go ask for, browserless' among them."""
    return {
        "read": {query: _read(query) for query in (*QUERIES, *LEFT_OUT)},
        "flags of sessions": sorted(adapters.allowed_flags()),
    }


# -- the webhook --


def webhook() -> Json:
    """Describe what a webhook gets: the header that signs it, and the keys of its body."""
    name, value = adapters.webhook_signature(b'{"id": "1"}', "secret", 1_767_323_045)
    shown = re.search(r"^```json\n(.*?)^```", adapters.webhook_page(), re.MULTILINE | re.DOTALL)
    body = json.loads(shown[1]) if shown else {"alert": {}}
    return {
        "header": name,
        "signature": value,
        "body": sorted(body),
        "alert": sorted(body["alert"]),
        "keys in code": {key: spoken.in_code(key) for key in (*body, *body["alert"])},
    }
