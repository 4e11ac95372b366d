"""Cookies in the form of HAR 1.2, parsed from their headers (RFC 6265)."""

from __future__ import annotations

import datetime
import email.utils
from typing import Any

_NAMES = {"path": "path", "domain": "domain", "samesite": "sameSite"}
_FLAGS = {"httponly": "httpOnly", "secure": "secure"}


def sent(header: str) -> list[dict[str, Any]]:
    """Return a request's cookies from its ``Cookie`` header."""
    return [_pair(part) for part in header.split(";") if part.strip()]


def received(header: str) -> dict[str, Any]:
    """Return the cookie of a ``Set-Cookie`` header, without unknown and invalid attributes."""
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
    """Return name and value; a pair without an equals sign has only a value (RFC 6265bis)."""
    name, equals, value = text.partition("=")
    return {"name": name.strip() if equals else "", "value": (value if equals else name).strip()}


def _date(text: str) -> str:
    try:
        when = email.utils.parsedate_to_datetime(text.strip())
    except (ValueError, OverflowError):
        return ""
    if when.tzinfo is None:  # "-0000" means an unknown zone; dates of cookies are UTC
        when = when.replace(tzinfo=datetime.UTC)
    return when.isoformat(timespec="milliseconds")
