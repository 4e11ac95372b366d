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
_OF_PROGRAM = (AssertionError, AttributeError, ImportError, NameError, RuntimeError, TypeError)
"""Exceptions whose messages come from the program. ValueError quotes the value."""


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


def _summary(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    message = ""
    if isinstance(error, OSError):  # without the file name, which a page may have chosen
        message = f": [Errno {error.errno}] {error.strerror}" if error.errno else ""
    elif not module and isinstance(error, _OF_PROGRAM):
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


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, Any], str]:
    """Return event, fields and exception. A record of a library is one event, with its text."""
    event, fields = str(record.msg), getattr(record, "fields", None)
    if not isinstance(fields, dict):
        event, fields = "library.message", {"text": record.getMessage()}
    fields = {name: value for name, value in fields.items() if value is not None}
    error = record.exc_info[1] if record.exc_info else None
    return event, fields, "" if error is None else describe(error)


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
        priority = next((n for least, n in _PRIORITIES if record.levelno >= least), 7)
        return (f"<{priority}>" if self._journal else "") + json.dumps(line)


def _shown(value: object) -> str:
    """Return a value for a terminal; text is quoted where that is needed to read it."""
    if isinstance(value, str) and value and not set(value) & set(" \"'="):
        return _harmless(value)
    return _harmless(json.dumps(value, ensure_ascii=not isinstance(value, str)))


def _harmless(text: str) -> str:
    """Escape what could control a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
        with contextlib.suppress(OSError):  # nobody reads, and there is no other place for this
            while data:
                data = data[os.write(_STDERR, data) :]


def _formatter() -> logging.Formatter:
    """Return the format for what stderr is; the journal names its stream (systemd.exec(5))."""
    if os.isatty(_STDERR):
        return TextFormatter()
    journal = False
    with contextlib.suppress(OSError):  # stderr is closed
        found = os.fstat(_STDERR)
        journal = os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return JsonFormatter(journal=journal)


def set_up_logging(level: str) -> None:
    """Log to stderr, also Python's warnings and exceptions that nothing catches."""
    handler = _Lines()
    handler.setFormatter(_formatter())
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, _Lines)] + [handler]
    set_level(level)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda kind, error, trace: log.critical("process.failed", exc_info=error)
    sys.unraisablehook = _on_unraisable


def set_level(level: str) -> None:
    """Log from this level on: ``debug``, ``info``, ``warning`` or ``error``."""
    logging.getLogger().setLevel(level.upper())


class Log:
    """A logger that takes an event and its fields, and an exception as ``exc_info``."""

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


def _on_unraisable(found: sys.UnraisableHookArgs) -> None:
    where = getattr(found.object, "__qualname__", type(found.object).__qualname__)
    log.error("exception.ignored", where=where, exc_info=found.exc_value)
