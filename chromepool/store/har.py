"""Responses as HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/)."""

from __future__ import annotations

import base64
import datetime
import urllib.parse
from collections.abc import Iterable
from typing import Any

from chromepool.store.responses import Response

_TEXTS = ("text/", "application/json", "application/javascript", "application/xml", "image/svg")
_UNKNOWN = -1
"""HAR's word for what is not known."""


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


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
    """HAR's phases from CDP's: each begins where the one before it ends, -1 is "not needed"."""
    timing = response.timing

    def span(start: str, end: str) -> float:
        first, last = timing.get(start, _UNKNOWN), timing.get(end, _UNKNOWN)
        return round(last - first, 3) if first >= 0 and last >= first else _UNKNOWN

    total = response.duration_ms or 0.0
    send = max(0.0, span("sendStart", "sendEnd"))
    wait = max(0.0, span("sendEnd", "receiveHeadersEnd"))
    before = max(0.0, float(timing.get("sendStart", 0.0)))
    return {
        "blocked": _UNKNOWN,
        "dns": span("dnsStart", "dnsEnd"),
        "connect": span("connectStart", "connectEnd"),
        "ssl": span("sslStart", "sslEnd"),
        "send": send,
        "wait": wait,
        "receive": round(max(0.0, total - before - send - wait), 3),
    }


def _entry(response: Response) -> dict[str, Any]:
    query = urllib.parse.parse_qsl(urllib.parse.urlsplit(response.url).query, True)
    version = response.protocol or "HTTP/1.1"
    location = {k.lower(): v for k, v in response.response_headers.items()}.get("location", "")
    entry = {
        "startedDateTime": response.started_at.isoformat(timespec="milliseconds"),
        "time": response.duration_ms or 0.0,
        "request": {
            "method": response.method,
            "url": response.url,
            "httpVersion": version,
            "cookies": [],
            "headers": _pairs(response.request_headers.items()),
            "queryString": _pairs(query),
            "headersSize": _UNKNOWN,
            "bodySize": _UNKNOWN,
        },
        "response": {
            "status": response.status,
            "statusText": response.status_text,
            "httpVersion": version,
            "cookies": [],
            "headers": _pairs(response.response_headers.items()),
            "content": _content(response),
            "redirectURL": location,
            "headersSize": _UNKNOWN,
            "bodySize": response.encoded_bytes or _UNKNOWN,
        },
        "cache": {},
        "timings": _timings(response),
        "_resourceType": response.type.lower(),
    }
    if response.remote_address:
        entry["serverIPAddress"] = response.remote_address
    return entry


def export(responses: Iterable[Response], version: str, browser: str) -> dict[str, Any]:
    """The log of a session, as it is now."""
    name, _, number = browser.partition("/")
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": "chromepool", "version": version},
            "browser": {"name": name or "Chrome", "version": number},
            "pages": [],
            "entries": [_entry(response) for response in responses],
            "comment": f"made {datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')}",
        }
    }
