"""The log of both processes: one event a line, with its fields.

JSON, unless stderr is a terminal. ``docs/reference/logs.md`` lists the events. Secrets are left out
where a line is written; as a second guard, what looks like a session's id, a token or a cookie is
replaced in every text, and an exception's message is left out where it may quote a page or client.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

MOST_TEXT = 1000
"""Longest text of one field, in characters: pages and clients may write some of it."""
_MOST_ITEMS = 100
_MOST_EXCEPTION = 8000
_STDERR = 2
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Level → syslog's priority from that level on; below is 7, debug (sd-daemon(3))."""
_SECRET = re.compile(
    r"\b[0-9a-f]{32,}\b"
    r"|(?i:(?<=token=)|(?<=bearer )|(?<=basic ))[^\s&\"']+"
    r"|(?i:(?<=cookie: ))[^\n]+"
)
_SAFE_MESSAGES = (
    AssertionError,
    AttributeError,
    ImportError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
)
"""Exceptions whose messages come from the program or the kernel. ValueError quotes the value."""


def strike(text: str) -> str:
    """Replace what looks like a session's id, a token or a cookie in ``text``."""
    return _SECRET.sub("***", text)


def cut(text: str, most: int = MOST_TEXT) -> str:
    """Cut ``text`` to ``most`` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def plain(value: object) -> Any:
    """Return a value as JSON has it, of bounded length and without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in list(value)[:_MOST_ITEMS]]
    if isinstance(value, Mapping):
        items = list(value.items())[:_MOST_ITEMS]
        return {cut(strike(str(name))): plain(item) for name, item in items}
    return cut(strike(str(value)))  # in this order, or half a secret may stay


# -- exceptions --


def _summary(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    message = ""
    if isinstance(error, OSError):  # without the file name, which a page may have chosen
        message = f": [Errno {error.errno}] {error.strerror}" if error.errno else ""
    elif not module and isinstance(error, _SAFE_MESSAGES):
        message = f": {error}"
    return f"{module}{kind.__qualname__}{cut(strike(message))}"


def _causes(error: BaseException) -> list[BaseException]:
    """Return what led to an exception, the first cause first, itself last."""
    found = [error]
    while True:
        last = found[-1]
        before = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if before is None or before in found:
            return found[::-1]
        found.append(before)


def describe(error: BaseException) -> str:
    """Return an exception's traceback and type, and its message unless that may quote a page."""
    lines: list[str] = []
    for one in _causes(error):
        lines += [*traceback.format_tb(one.__traceback__), _summary(one) + "\n"]
        if isinstance(one, BaseExceptionGroup):
            lines += [f"one of it: {describe(inner)}\n" for inner in one.exceptions[:_MOST_ITEMS]]
    return "".join(lines).rstrip("\n")[-_MOST_EXCEPTION:]


# -- lines --


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, Any], str]:
    """Return event, fields and exception. A record of a library is one event, with its text."""
    fields = getattr(record, "fields", None)
    event = record.msg if isinstance(fields, dict) else "library.message"
    if not isinstance(fields, dict):
        fields = {"text": record.getMessage()}
    error = record.exc_info[1] if record.exc_info else None
    fields = {name: value for name, value in fields.items() if value is not None}
    return str(event), fields, "" if error is None else describe(error)


def _time(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


class JsonFormatter(logging.Formatter):
    """A formatter of JSON lines: time, level, logger, event, fields, and the exception if any."""

    def __init__(self, *, journal: bool = False) -> None:
        """``journal``: begin each line with its priority, as the journal reads it."""
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line break."""
        event, fields, exception = _parts(record)
        line = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        line |= {name: plain(value) for name, value in fields.items() if name not in line}
        if exception:
            line["exception"] = exception
        return self._prefix(record) + json.dumps(line)

    def _prefix(self, record: logging.LogRecord) -> str:
        if not self._journal:
            return ""
        level = record.levelno
        return f"<{next((number for least, number in _PRIORITIES if level >= least), 7)}>"


def _shown(value: object) -> str:
    """Return a value for a terminal, which nothing in it can control."""
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, str) and (not text or set(text) & set(" \"'=")):
        text = json.dumps(text, ensure_ascii=False)
    return _harmless(text)


def _harmless(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


class TextFormatter(logging.Formatter):
    """A formatter of short lines for a terminal: ``name=value``, and the exception below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line break."""
        event, fields, exception = _parts(record)
        at = _time(record).astimezone().strftime("%H:%M:%S.") + f"{record.msecs:03.0f}"
        shown = [f"{_harmless(name)}={_shown(plain(value))}" for name, value in fields.items()]
        head = f"{at} {record.levelname.lower():8} {_harmless(event)}"
        below = [f"    {_harmless(line)}" for line in exception.splitlines()]
        return "\n".join([" ".join([head, *shown]), *below])


class _Lines(logging.Handler):
    """A handler that writes each line at once, since both processes write to the same stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        data = (self.format(record) + "\n").encode(errors="backslashreplace")
        with contextlib.suppress(
            OSError
        ):  # stderr is closed, and there is no other place to report that
            while data:
                data = data[os.write(_STDERR, data) :]


def is_journal(fd: int, named: str) -> bool:
    """Return whether a descriptor is the stream that ``JOURNAL_STREAM`` names (systemd.exec(5))."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def set_up_logging(level: str) -> None:
    """Log to stderr in the format that suits it, also warnings and exceptions nothing catches."""
    handler = _Lines()
    if os.isatty(_STDERR):
        handler.setFormatter(TextFormatter())
    else:
        journal = is_journal(_STDERR, os.environ.get("JOURNAL_STREAM", ""))
        handler.setFormatter(JsonFormatter(journal=journal))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Lines)]:
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _on_uncaught
    sys.unraisablehook = _on_unraisable


def set_level(level: str) -> None:
    """Log from this level on: ``debug``, ``info``, ``warning`` or ``error``."""
    logging.getLogger().setLevel(level.upper())


# -- writing lines --


class Log:
    """A logger of the standard library that takes an event and its fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def _log(
        self, level: int, event: str, *, exc_info: BaseException | None = None, **fields: object
    ) -> None:
        self._logger.log(level, event, extra={"fields": fields}, exc_info=exc_info)

    debug = functools.partialmethod(_log, logging.DEBUG)
    """Log what helps to find a fault."""
    info = functools.partialmethod(_log, logging.INFO)
    """Log what happens as it should."""
    warning = functools.partialmethod(_log, logging.WARNING)
    """Log what should not happen, and is dealt with."""
    error = functools.partialmethod(_log, logging.ERROR)
    """Log what the operator should look at."""
    critical = functools.partialmethod(_log, logging.CRITICAL)
    """Log what ends the process."""


log = Log("chromepool")


def _on_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    log.critical("process.failed", exc_info=error)


def _on_unraisable(found: sys.UnraisableHookArgs) -> None:
    where = getattr(found.object, "__qualname__", type(found.object).__qualname__)
    log.error("exception.ignored", where=where, exc_info=found.exc_value)
