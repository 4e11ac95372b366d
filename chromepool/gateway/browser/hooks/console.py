"""What pages said: console messages and errors."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from chromepool.gateway.browser.auto_attach import Command, Target
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.ring import Ring

_LEVELS = {"warn": "warning", "verbose": "debug", "assert": "error", "trace": "log"}
_TEXT = 8192
"""Characters that are kept of one message."""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """One message."""

    at: datetime.datetime
    level: str
    """``log``, ``info``, ``warning``, ``error``, ``debug``; ``exception``: one nobody caught."""
    text: str
    url: str = ""
    line: int | None = None
    target_id: str = ""

    @property
    def size(self) -> int:
        """Bytes that keeping it takes, about."""
        return 200 + len(self.text) + len(self.url)


def _text(value: dict[str, Any]) -> str:
    """A CDP RemoteObject, as the console would show it."""
    for name in ("value", "unserializableValue", "description"):
        if name in value:
            return str(value[name])
    return str(value.get("type", ""))


class ConsoleHook:
    """Keeps what every page, frame and worker says. Implements ``attendant.Duty``."""

    events = frozenset({b"Runtime.consoleAPICalled", b"Runtime.exceptionThrown", b"Log.entryAdded"})

    def __init__(self, kept: Ring[Said]) -> None:
        self._kept = kept

    def commands(self, target: Target) -> list[Command]:
        """What makes a target tell."""
        return [("Runtime.enable", {}), ("Log.enable", {})]

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """A kind of target that has no log is no failure."""
        return ""

    def gone(self, target: Target) -> None:
        """What it has said stays."""

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """Something was said."""
        if event.method == "Runtime.consoleAPICalled":
            said = self._called(event.params)
        elif event.method == "Runtime.exceptionThrown":
            said = self._thrown(event.params)
        elif event.method == "Log.entryAdded":
            said = self._logged(event.params.get("entry", {}))
        else:
            return
        said = dataclasses.replace(said, target_id=target.id)
        self._kept.add(said, said.size)

    @staticmethod
    def _at(milliseconds: Any) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(float(milliseconds or 0) / 1000, datetime.UTC)

    def _called(self, params: dict[str, Any]) -> Said:
        text = " ".join(_text(value) for value in params.get("args", []))
        frames = (params.get("stackTrace") or {}).get("callFrames") or [{}]
        kind = str(params.get("type", "log"))
        return Said(
            self._at(params.get("timestamp")),
            _LEVELS.get(kind, kind),
            text[:_TEXT],
            str(frames[0].get("url", "")),
            frames[0].get("lineNumber"),
        )

    def _thrown(self, params: dict[str, Any]) -> Said:
        details = params.get("exceptionDetails", {})
        text = (details.get("exception") or {}).get("description") or details.get("text", "")
        return Said(
            self._at(params.get("timestamp")),
            "exception",
            str(text)[:_TEXT],
            str(details.get("url", "")),
            details.get("lineNumber"),
        )

    def _logged(self, entry: dict[str, Any]) -> Said:
        level = str(entry.get("level", "info"))
        return Said(
            self._at(entry.get("timestamp")),
            _LEVELS.get(level, level),
            str(entry.get("text", ""))[:_TEXT],
            str(entry.get("url", "")),
            entry.get("lineNumber"),
        )
