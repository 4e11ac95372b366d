"""Declaration of one setting, and the parsing of its value.

:class:`chromepool.config.Settings` and :class:`chromepool.model.Limits` are tables of such
declarations; the configuration, the command line, the API and the references are made from them.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

MIB = 1024 * 1024
GIB = 1024 * MIB
LARGEST_BYTES = 1 << 62
"""Upper bound of every size: the kernel counts bytes in 63 bits."""

_SUFFIXES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": MIB, "gi": GIB}
_SIZE = re.compile(r"(\d+)\s*([kmg]i?)?b?", re.IGNORECASE)
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_PLAIN = {"size": False, "alias_unit": 1}


def setting(
    default: Any,
    text: str,
    *,
    low: float = 0,
    high: float = math.inf,
    alias: str = "",
    live: bool = True,
    **more: Any,
) -> Any:
    """Declare a dataclass field as a setting. ``alias`` is a second environment variable, SIGHUP
    changes ``live`` settings, and ``more`` is kept for the table's owner.
    """
    meta = {"help": text, "low": low, "high": high, "alias": alias, "live": live}
    return dataclasses.field(default=default, metadata=_PLAIN | meta | more)


def seconds(default: float, text: str, *, alias: str = "", **more: Any) -> Any:
    """Declare a time; the help is given its unit. ``alias`` holds milliseconds."""
    more |= {"alias": alias, "alias_unit": 0.001} if alias else {}
    return setting(default, _in(text, "seconds"), **more)


def size(default: int, text: str, *, high: int = LARGEST_BYTES, **more: Any) -> Any:
    """Declare a size, which may be written as ``512MiB``; the help is given its unit."""
    return setting(default, _in(text, "bytes"), high=high, size=True, **more)


def _in(text: str, unit: str) -> str:
    """Add the unit to the first clause."""
    return re.sub(r"[;.]", rf", in {unit}\g<0>", text, count=1)


fixed = functools.partial(setting, live=False)
"""Declare a setting that only a restart of the daemon changes."""


def parse_value(kind: type, meta: Mapping[str, Any], value: Any) -> Any:
    """Parse a value that was written; the ValueError completes a sentence that begins with it."""
    if kind is bool:
        return _parse_bool(value)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError("is not text")
        return value
    number = _parse_size(value) if meta["size"] else _parse_number(kind, value)
    if not meta["low"] <= number <= meta["high"]:
        raise ValueError(f"is not between {meta['low']} and {meta['high']}")
    return number


def _parse_bool(value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is not true or false")
    return word in _TRUE


def _parse_size(value: Any) -> int:
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("is not a size such as 536870912 or 512MiB")
    return int(match[1]) * _SUFFIXES[(match[2] or "").lower()]


def _parse_number(kind: type, value: Any) -> int | float:
    try:
        number = int(str(value)) if kind is int else float(str(value))
    except ValueError:
        raise ValueError("is not a whole number" if kind is int else "is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number
