"""Export of responses as HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/)."""

import base64
import datetime
import email.utils
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from chromepool.gateway.store.responses import Response

_TEXTS = ("text/", "application/json", "application/javascript", "application/xml", "image/svg")
_UNKNOWN = -1
"""HAR's value for an unknown size or time."""
_COOKIE_TEXTS = {"path": "path", "domain": "domain", "samesite": "sameSite"}
_COOKIE_FLAGS = {"httponly": "httpOnly", "secure": "secure"}


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return single headers: Chrome joins those of one name by newlines."""
    return [(name, line) for name, value in headers.items() for line in value.split("\n")]


def _named(headers: list[tuple[str, str]], wanted: str) -> list[str]:
    return [value for name, value in headers if name.lower() == wanted]


def sent_cookies(header: str) -> list[dict[str, Any]]:
    """Return a request's cookies from its ``Cookie`` header."""
    return [_cookie(part) for part in header.split(";") if part.strip()]


def received_cookie(header: str) -> dict[str, Any]:
    """Return the cookie of a ``Set-Cookie`` header, without unknown and invalid attributes."""
    first, *attributes = header.split(";")
    cookie = _cookie(first)
    for attribute in attributes:
        name, _, value = attribute.strip().partition("=")
        name = name.strip().lower()
        if name in _COOKIE_TEXTS:
            cookie[_COOKIE_TEXTS[name]] = value.strip()
        elif name in _COOKIE_FLAGS:
            cookie[_COOKIE_FLAGS[name]] = True
        elif name == "expires" and (when := _expiry(value)):
            cookie["expires"] = when
    return cookie


def _cookie(text: str) -> dict[str, Any]:
    """Return name and value; a pair without an equals sign has only a value (RFC 6265bis)."""
    name, equals, value = text.partition("=")
    return {"name": name.strip() if equals else "", "value": (value if equals else name).strip()}


def _expiry(text: str) -> str:
    try:
        when = email.utils.parsedate_to_datetime(text.strip())
    except (ValueError, OverflowError):
        return ""
    if when.tzinfo is None:  # "-0000" means an unknown zone; dates of cookies are UTC
        when = when.replace(tzinfo=datetime.UTC)
    return when.isoformat(timespec="milliseconds")


def _content(response: Response) -> dict[str, Any]:
    content: dict[str, Any] = {
        "size": len(response.body) if response.body is not None else 0,
        "mimeType": response.mime_type or "x-unknown",
    }
    if response.body is None:
        return content | ({"comment": response.body_error} if response.body_error else {})
    if response.mime_type.startswith(_TEXTS):
        return content | {"text": response.body.decode(errors="replace")}
    return content | {"text": base64.b64encode(response.body).decode(), "encoding": "base64"}


def _timings(response: Response) -> dict[str, float]:
    """Return HAR's phases in milliseconds. Each begins where the one before it ends, and their sum
    is the entry's time, all that is known if no server answered. ``ssl`` is part of ``connect``."""
    timing = response.timing
    total = response.duration_ms or 0.0
    offset = (timing.get("requestTime", response.began) - response.began) * 1000
    starts = [timing.get(f"{phase}Start", _UNKNOWN) for phase in ("dns", "connect", "send")]
    ends = {
        "blocked": next((start for start in starts if start >= 0), _UNKNOWN),
        "dns": timing.get("dnsEnd", _UNKNOWN),
        "connect": timing.get("connectEnd", _UNKNOWN),
        "send": timing.get("sendEnd", _UNKNOWN),
        "wait": timing.get("receiveHeadersEnd", _UNKNOWN),
    }
    found: dict[str, float] = {}
    at = 0.0
    for phase, end in ends.items():
        if end < 0:
            found[phase] = 0.0 if phase in ("send", "wait") else _UNKNOWN
            continue
        began = at
        at = min(max(at, offset + end), total)
        found[phase] = round(at - began, 3)
    return found | {"receive": round(total - at, 3), "ssl": _ssl(timing, found["connect"])}


def _ssl(timing: Mapping[str, float], connect: float) -> float:
    start, end = timing.get("sslStart", _UNKNOWN), timing.get("sslEnd", _UNKNOWN)
    return round(min(end - start, connect), 3) if 0 <= start <= end else _UNKNOWN


def _entry(response: Response) -> dict[str, Any]:
    query = urllib.parse.parse_qsl(urllib.parse.urlsplit(response.url).query, True)
    version = response.protocol or "HTTP/1.1"
    sent = _headers(response.request_headers)
    received = _headers(response.response_headers)
    entry = {
        "startedDateTime": response.started_at.isoformat(timespec="milliseconds"),
        "time": response.duration_ms or 0.0,
        "request": {
            "method": response.method,
            "url": response.url,
            "httpVersion": version,
            "cookies": sent_cookies(";".join(_named(sent, "cookie"))),
            "headers": _pairs(sent),
            "queryString": _pairs(query),
            "headersSize": _UNKNOWN,
            "bodySize": _UNKNOWN,
        },
        "response": {
            "status": response.status,
            "statusText": response.status_text,
            "httpVersion": version,
            "cookies": [received_cookie(value) for value in _named(received, "set-cookie")],
            "headers": _pairs(received),
            "content": _content(response),
            "redirectURL": next(iter(_named(received, "location")), ""),
            "headersSize": _UNKNOWN,
            "bodySize": response.encoded_bytes or _UNKNOWN,
        },
        "cache": {},
        "timings": _timings(response),
        "_resourceType": response.type.lower(),
    }
    if response.remote_address:
        entry["serverIPAddress"] = response.remote_address.strip("[]")
    return entry


def export(responses: Iterable[Response], version: str, browser: str) -> dict[str, Any]:
    """Return a session's responses as a HAR log."""
    name, _, number = browser.partition("/")
    now = datetime.datetime.now(datetime.UTC)
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": "chromepool", "version": version},
            "browser": {"name": name or "Chrome", "version": number},
            "pages": [],
            "entries": [_entry(response) for response in responses],
            "comment": f"exported at {now.isoformat(timespec='seconds')}",
        }
    }
