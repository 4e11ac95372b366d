"""Console messages and errors of a session's pages, frames and workers."""

from __future__ import annotations

import datetime
from typing import Any

from chromepool.gateway.browser.auto_attach import Command, Target, TargetHook
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.ring import Ring
from chromepool.schema.artifacts import ConsoleView

_LEVELS = {"warn": "warning", "verbose": "debug", "assert": "error", "trace": "log"}
_MAX_TEXT = 8192
"""Characters of one message that are kept."""
_OVERHEAD_BYTES = 200
"""Approximate size of a message without its texts."""


def _text(value: dict[str, Any]) -> str:
    """Return a CDP RemoteObject as the console shows it."""
    for name in ("value", "unserializableValue", "description"):
        if name in value:
            return str(value[name])
    return str(value.get("type", ""))


class ConsoleHook(TargetHook):
    """Stores the console messages of every target."""

    events = frozenset({b"Runtime.consoleAPICalled", b"Runtime.exceptionThrown", b"Log.entryAdded"})

    def __init__(self, messages: Ring[ConsoleView]) -> None:
        self._messages = messages

    def commands(self, target: Target) -> list[Command]:
        """Return the commands that make a target report its messages.

        Their errors are ignored: some kinds of targets have no log.
        """
        return [("Runtime.enable", {}), ("Log.enable", {})]

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Store a message."""
        if event.method == "Runtime.consoleAPICalled":
            message = _from_call(target, event.params)
        elif event.method == "Runtime.exceptionThrown":
            message = _from_exception(target, event.params)
        else:
            message = _from_log(target, event.params.get("entry", {}))
        size = _OVERHEAD_BYTES + len(message.text) + len(message.url)
        message.number = self._messages.add(message, size)


def _message(
    target: Target, milliseconds: Any, level: str, text: str, source: dict[str, Any]
) -> ConsoleView:
    return ConsoleView(
        0,  # until it is stored
        datetime.datetime.fromtimestamp(float(milliseconds or 0) / 1000, datetime.UTC),
        _LEVELS.get(level, level),
        text[:_MAX_TEXT],
        str(source.get("url", "")),
        source.get("lineNumber"),
        target.id,
    )


def _from_call(target: Target, params: dict[str, Any]) -> ConsoleView:
    text = " ".join(_text(value) for value in params.get("args", []))
    frames = (params.get("stackTrace") or {}).get("callFrames") or [{}]
    level = str(params.get("type", "log"))
    return _message(target, params.get("timestamp"), level, text, frames[0])


def _from_exception(target: Target, params: dict[str, Any]) -> ConsoleView:
    details = params.get("exceptionDetails", {})
    text = (details.get("exception") or {}).get("description") or details.get("text", "")
    return _message(target, params.get("timestamp"), "exception", str(text), details)


def _from_log(target: Target, entry: dict[str, Any]) -> ConsoleView:
    level, text = str(entry.get("level", "info")), str(entry.get("text", ""))
    return _message(target, entry.get("timestamp"), level, text, entry)
