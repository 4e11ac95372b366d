"""The gateway's log: structlog's loggers, whose lines end in those of the standard library and in
:mod:`chromepool.logs`, like those of the supervisor, aiohttp and asyncio."""

import asyncio
import logging
import threading
from collections.abc import MutableMapping
from typing import Any

import structlog

from chromepool import logs

Logger = structlog.stdlib.BoundLogger


def _to_record(
    logger: logging.Logger, method: str, line: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Convert a line to arguments for the standard library's logger, as the last processor."""
    event = line.pop("event")
    error = line.pop("exc_info", None)
    return (event,), {"extra": {"fields": dict(line)}, "exc_info": error}


def get_logger(name: str) -> Logger:
    """Return the logger of this name."""
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=Logger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


log = get_logger("chromepool.gateway")


def set_up(level: str) -> None:
    """Set up logging as in the supervisor, and log exceptions in threads too."""
    logs.set_up_logging(level)
    threading.excepthook = _on_thread_fault


def _on_thread_fault(found: threading.ExceptHookArgs) -> None:
    name = found.thread.name if found.thread else ""
    log.error("thread.failed", thread=name, exc_info=found.exc_value)


def on_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an unhandled exception and its function, without values, which may be secret."""
    task = context.get("task") or context.get("future")
    work = task.get_coro() if isinstance(task, asyncio.Task) else None
    where = getattr(work, "__qualname__", "")
    text = str(context.get("message", "")).partition("(")[0].partition("<")[0]
    log.error("loop.failed", text=text, where=where, exc_info=context.get("exception"))
