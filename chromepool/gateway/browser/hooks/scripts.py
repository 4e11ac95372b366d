"""Putting a session's persistent scripts into Chrome, target by target."""

from __future__ import annotations

from collections.abc import Callable

from chromepool.gateway.browser.auto_attach import Command, Target
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.scripts import Script, Scripts

_ADD = "Page.addScriptToEvaluateOnNewDocument"
_REMOVE = "Page.removeScriptToEvaluateOnNewDocument"


class ScriptsHook:
    """Keeps every page's and frame's list of scripts as :class:`Scripts` has it.

    Chrome runs them in the order in which they were added, so a change is made by taking all out
    and adding all again, in one go. Implements ``attendant.Duty``.
    """

    events = frozenset({b"Page.frameNavigated"})

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._identifiers: dict[Target, list[str]] = {}
        self._unanswered: dict[Target, int] = {}
        """Commands; until there are none the identifiers are not all known."""
        self._stale: set[Target] = set()
        """Those that are told again once they have answered."""
        self.repeat: Callable[[Target], None] = lambda target: None
        """Has a target told :meth:`commands` again."""
        self.run_now = ""
        """Name of a script that is to run in the open documents as well, once."""

    def commands(self, target: Target) -> list[Command]:
        """From what the target has to what it is to have."""
        if target.kind not in ("page", "iframe"):
            return []
        if self._unanswered.get(target):
            self._stale.add(target)
            # Chrome answers in order: whoever waits for this waits for what follows from the rest.
            return self._told(target, [("Page.enable", {})])
        found: list[Command] = []
        known = self._identifiers.get(target)
        if known is None:  # the list is of no effect in a page that is not listened to
            # Without the second a document has no world to run scripts in until it has a script of
            # its own, or somebody evaluates one; and the list is run then, whenever that is.
            found += [("Page.enable", {}), ("Runtime.enable", {})]
        for identifier in _to_remove(known or []):
            found.append((_REMOVE, {"identifier": identifier}))
        at_once = target.paused and known is None  # its first, empty document is there already
        self._identifiers[target] = []
        found += [(_ADD, self._params(each, at_once)) for each in self._scripts.all()]
        return self._told(target, found)

    def _told(self, target: Target, commands: list[Command]) -> list[Command]:
        self._unanswered[target] = self._unanswered.get(target, 0) + len(commands)
        return commands

    def _params(self, script: Script, at_once: bool) -> dict[str, object]:
        params: dict[str, object] = {"source": script.source}
        if at_once or script.name == self.run_now:
            params["runImmediately"] = True
        if script.world:
            params["worldName"] = script.world
        return params

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Remembers what Chrome calls a script."""
        if target not in self._identifiers:
            return ""
        if method == _ADD and answer.error is None:
            self._identifiers[target].append(str(answer.result.get("identifier")))
        self._unanswered[target] -= 1
        if not self._unanswered[target] and target in self._stale:
            self._stale.discard(target)
            self.repeat(target)
        return answer.error.message if method == _ADD and answer.error is not None else ""

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """A page that goes elsewhere, maybe to another process, while its list is being made: what
        the old process has not answered Chrome asks the new one again, and the list may then have
        a script twice. So it is made once more."""
        if event.method == "Page.frameNavigated" and self._unanswered.get(target):
            self._stale.add(target)

    def gone(self, target: Target) -> None:
        """Its list went with it."""
        self._identifiers.pop(target, None)
        self._unanswered.pop(target, None)
        self._stale.discard(target)


def _to_remove(known: list[str]) -> list[str]:
    """Identifiers to take out: those that are known, and a few that a doubled list may have."""
    numbers = [int(identifier) for identifier in known if identifier.isdigit()]
    if not numbers:
        return known
    return [str(number) for number in range(min(numbers), max(numbers) + len(numbers) + 1)]
