"""The log of both processes: one event a line, with its fields.

JSON, unless stderr is a terminal. ``docs/reference/logs.md`` lists the events. What a line holds
is chosen where it is written; as a second guard, what looks like a session's id, a token or a
cookie is struck out of every text, and of an exception only such words are kept as quote nobody.
"""

from __future__ import annotations

import contextlib
import datetime
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
"""Letters of one value: some are of pages or clients."""
_MOST_ITEMS = 100
_MOST_EXCEPTION = 8000
_STDERR = 2
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""From which level on which priority of syslog's; below is 7, debug (sd-daemon(3))."""
_SECRET = re.compile(
    r"\b[0-9a-f]{32,}\b"
    r"|(?i:(?<=token=)|(?<=bearer )|(?<=basic ))[^\s&\"']+"
    r"|(?i:(?<=cookie: ))[^\n]+"
)
_TELLING = (
    AssertionError,
    AttributeError,
    ImportError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
)
"""Exceptions whose words are the program's or the kernel's. A ValueError quotes the value."""


def strike(text: str) -> str:
    """``text`` without what looks like a session's id, a token or a cookie."""
    return _SECRET.sub("***", text)


def cut(text: str, most: int = MOST_TEXT) -> str:
    """``text``, no longer than ``most``."""
    return text if len(text) <= most else text[: most - 3] + "..."


def plain(value: object) -> Any:
    """A value as JSON has it, of bounded length, with nothing in it that is to be kept secret."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in list(value)[:_MOST_ITEMS]]
    if isinstance(value, Mapping):
        items = list(value.items())[:_MOST_ITEMS]
        return {cut(strike(str(name))): plain(item) for name, item in items}
    return cut(strike(str(value)))  # not the other way, or half a secret may stay


# -- exceptions --


def _words(error: BaseException) -> str:
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    said = ""
    if isinstance(error, OSError):  # without the name of a file, which may be a page's
        said = f": [Errno {error.errno}] {error.strerror}" if error.errno else ""
    elif not module and isinstance(error, _TELLING):
        said = f": {error}"
    return f"{module}{kind.__qualname__}{cut(strike(said))}"


def _causes(error: BaseException) -> list[BaseException]:
    """What led to an exception, the first cause first, itself last."""
    found = [error]
    while True:
        last = found[-1]
        before = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if before is None or before in found:
            return found[::-1]
        found.append(before)


def describe(error: BaseException) -> str:
    """Where an exception was raised and what it is. What it says is left out where it may quote a
    page or a client."""
    told = []
    for one in _causes(error):
        told += [*traceback.format_tb(one.__traceback__), _words(one) + "\n"]
        if isinstance(one, BaseExceptionGroup):
            told += [f"one of it: {describe(inner)}\n" for inner in one.exceptions[:_MOST_ITEMS]]
    return "".join(told).rstrip("\n")[-_MOST_EXCEPTION:]


# -- lines --


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, Any], str]:
    """Event, fields and exception. A record of a library's is one event, with its text."""
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
    """One JSON object: time, level, logger, event, the fields, and an exception if there is one."""

    def __init__(self, *, journal: bool = False) -> None:
        """``journal``: each line begins with its priority, as the journal takes it."""
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
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
    """A value for people: nothing in it can steer the terminal."""
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
    """A short line for a terminal: the fields as ``name=value``, an exception below."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        event, fields, exception = _parts(record)
        at = _time(record).astimezone().strftime("%H:%M:%S.") + f"{record.msecs:03.0f}"
        told = [f"{_harmless(name)}={_shown(plain(value))}" for name, value in fields.items()]
        head = f"{at} {record.levelname.lower():8} {_harmless(event)}"
        below = [f"    {_harmless(line)}" for line in exception.splitlines()]
        return "\n".join([" ".join([head, *told]), *below])


class _Lines(logging.Handler):
    """Writes each line at once, since both processes write to the same stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        data = (self.format(record) + "\n").encode(errors="backslashreplace")
        with contextlib.suppress(OSError):  # nobody reads it; there is nowhere to say so
            while data:
                data = data[os.write(_STDERR, data) :]


def is_journal(fd: int, named: str) -> bool:
    """Whether a descriptor is the stream that ``JOURNAL_STREAM`` names (systemd.exec(5))."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def set_up_logging(level: str) -> None:
    """Everything goes to stderr, in the shape that suits what stderr is; exceptions and warnings
    that nobody catches, too."""
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
    sys.excepthook = _on_fault
    sys.unraisablehook = _on_unraisable


def set_level(level: str) -> None:
    """From which level on there are lines: ``debug``, ``info``, ``warning``, ``error``."""
    logging.getLogger().setLevel(level.upper())


# -- writing them --


class Log:
    """A logger of the standard library's that takes an event and its fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Of use to who looks for a fault."""
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """As it should be."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Not as it should be, and dealt with."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        """Somebody should look."""
        self._say(logging.ERROR, event, fields, exc_info)

    def critical(
        self, event: str, *, exc_info: BaseException | None = None, **fields: object
    ) -> None:
        """The process ends."""
        self._say(logging.CRITICAL, event, fields, exc_info)

    def _say(
        self,
        level: int,
        event: str,
        fields: dict[str, object],
        error: BaseException | None = None,
    ) -> None:
        self._logger.log(level, event, extra={"fields": fields}, exc_info=error)


log = Log("chromepool")


def _on_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("process.failed", exc_info=error)


def _on_unraisable(found: sys.UnraisableHookArgs) -> None:
    where = getattr(found.object, "__qualname__", type(found.object).__qualname__)
    log.error("process.unraisable", where=where, exc_info=found.exc_value)
