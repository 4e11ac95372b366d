"""Putting a session's persistent scripts into Chrome, target by target."""

from __future__ import annotations

from chromepool.browser.attendant import Command, Target
from chromepool.cdp import message as cdp
from chromepool.store.scripts import Script, Scripts

_ADD = "Page.addScriptToEvaluateOnNewDocument"
_REMOVE = "Page.removeScriptToEvaluateOnNewDocument"


class ScriptingDuty:
    """Keeps every page's and frame's list of scripts as :class:`Scripts` has it.

    Chrome runs them in the order in which they were added, so a change is made by taking all out
    and adding all again, in one go. Implements ``attendant.Duty``.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._identifiers: dict[Target, list[str]] = {}
        self.run_now = ""
        """Name of a script that is to run in the open documents as well, once."""

    def commands(self, target: Target) -> list[Command]:
        """From what the target has to what it is to have."""
        if target.kind not in ("page", "iframe"):
            return []
        found: list[Command] = []
        known = self._identifiers.get(target)
        if known is None:  # the list is of no effect in a page that is not listened to
            found.append(("Page.enable", {}))
        for identifier in known or []:
            found.append((_REMOVE, {"identifier": identifier}))
        at_once = target.paused and known is None  # its first, empty document is there already
        self._identifiers[target] = []
        return found + [(_ADD, self._params(each, at_once)) for each in self._scripts.all()]

    def _params(self, script: Script, at_once: bool) -> dict[str, object]:
        params: dict[str, object] = {"source": script.source}
        if at_once or script.name == self.run_now:
            params["runImmediately"] = True
        if script.world:
            params["worldName"] = script.world
        return params

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Remembers what Chrome calls a script."""
        if answer.error is not None:
            return answer.error.message if method == _ADD else ""
        if method == _ADD and target in self._identifiers:
            self._identifiers[target].append(str(answer.result.get("identifier")))
        return ""

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """Nothing is listened to."""

    def gone(self, target: Target) -> None:
        """Its list went with it."""
        self._identifiers.pop(target, None)
