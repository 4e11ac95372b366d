"""Console messages and errors of a session's pages, frames and workers."""

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
        """Make a target report its messages, if its kind has any."""
        return [("Runtime.enable", {}), ("Log.enable", {})]

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Store a message."""
        params = source = event.params
        if event.method == "Runtime.consoleAPICalled":
            level = str(params.get("type", "log"))
            text = " ".join(map(_text, params.get("args", [])))
            source = ((params.get("stackTrace") or {}).get("callFrames") or [{}])[0]
        elif event.method == "Runtime.exceptionThrown":
            level = "exception"
            source = params.get("exceptionDetails", {})
            text = (source.get("exception") or {}).get("description") or source.get("text", "")
        else:
            params = source = params.get("entry", {})
            level = str(params.get("level", "info"))
            text = params.get("text", "")
        seconds = float(params.get("timestamp") or 0) / 1000
        message = ConsoleView(
            0,  # until it is stored
            datetime.datetime.fromtimestamp(seconds, datetime.UTC),
            _LEVELS.get(level, level),
            str(text)[:_MAX_TEXT],
            str(source.get("url", "")),
            source.get("lineNumber"),
            target.id,
        )
        size = _OVERHEAD_BYTES + len(message.text) + len(message.url)
        message.number = self._messages.add(message, size)
