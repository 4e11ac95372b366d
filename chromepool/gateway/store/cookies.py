"""Cookies as HAR 1.2 has them, from the headers that carry them (RFC 6265)."""

from __future__ import annotations

import datetime
import email.utils
from typing import Any

_NAMES = {"path": "path", "domain": "domain", "samesite": "sameSite"}
_FLAGS = {"httponly": "httpOnly", "secure": "secure"}


def sent(header: str) -> list[dict[str, Any]]:
    """Those of a request, from its ``Cookie`` header."""
    return [_pair(part) for part in header.split(";") if part.strip()]


def received(header: str) -> dict[str, Any]:
    """The one of a ``Set-Cookie`` header. Attributes that are unknown or make no sense are left
    out, as browsers do."""
    first, *attributes = header.split(";")
    cookie = _pair(first)
    for attribute in attributes:
        name, _, value = attribute.strip().partition("=")
        name = name.strip().lower()
        if name in _NAMES:
            cookie[_NAMES[name]] = value.strip()
        elif name in _FLAGS:
            cookie[_FLAGS[name]] = True
        elif name == "expires" and (when := _date(value)):
            cookie["expires"] = when
    return cookie


def _pair(text: str) -> dict[str, Any]:
    """What has no equals sign is a value without a name."""
    name, equals, value = text.partition("=")
    return {"name": name.strip() if equals else "", "value": (value if equals else name).strip()}


def _date(text: str) -> str:
    try:
        when = email.utils.parsedate_to_datetime(text.strip())
    except (ValueError, OverflowError):
        return ""
    if when.tzinfo is None:  # "-0000": of no zone that is told; cookies' dates are UTC
        when = when.replace(tzinfo=datetime.UTC)
    return when.isoformat(timespec="milliseconds")
