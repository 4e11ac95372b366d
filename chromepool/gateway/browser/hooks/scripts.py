"""Installing a session's persistent scripts in Chrome, target by target."""

from __future__ import annotations

from chromepool.gateway.browser.auto_attach import AutoAttacher, Command, Target, TargetHook
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.scripts import Script, Scripts

_ADD = "Page.addScriptToEvaluateOnNewDocument"
_REMOVE = "Page.removeScriptToEvaluateOnNewDocument"


class ScriptsHook(TargetHook):
    """Keeps the list of scripts in every page and frame equal to :class:`Scripts`.

    Chrome runs scripts in the order in which they were added, so a change removes all of them and
    adds all again in one go.
    """

    events = frozenset({b"Page.frameNavigated"})

    def __init__(self, auto_attacher: AutoAttacher, scripts: Scripts) -> None:
        self._auto_attacher = auto_attacher
        self._scripts = scripts
        self._identifiers: dict[Target, list[str]] = {}
        self._unanswered: dict[Target, int] = {}
        """Number of commands without an answer; until it is 0 not all identifiers are known."""
        self._stale: set[Target] = set()
        """Targets that get their commands again once they have answered."""
        self.run_now = ""
        """Name of a script that also runs once in the documents that are open."""

    def commands(self, target: Target) -> list[Command]:
        """Return the commands that turn the target's list of scripts into the current one."""
        if target.kind not in ("page", "iframe"):
            return []
        if self._unanswered.get(target):
            self._stale.add(target)
            # Chrome answers in order: this answer comes after those that are still missing, and
            # whoever waits for it then also waits for the commands that follow.
            return self._counted(target, [("Page.enable", {})])
        found: list[Command] = []
        known = self._identifiers.get(target)
        if known is None:  # without Page.enable the scripts have no effect
            # Without Runtime.enable a document has no world to run scripts in until it has a script
            # of its own, or a client evaluates one; the list would run only then.
            found += [("Page.enable", {}), ("Runtime.enable", {})]
        for identifier in _to_remove(known or []):
            found.append((_REMOVE, {"identifier": identifier}))
        at_once = target.paused and known is None  # its first, empty document exists already
        self._identifiers[target] = []
        found += [(_ADD, self._params(each, at_once)) for each in self._scripts.all()]
        return self._counted(target, found)

    def _counted(self, target: Target, commands: list[Command]) -> list[Command]:
        self._unanswered[target] = self._unanswered.get(target, 0) + len(commands)
        return commands

    def _params(self, script: Script, at_once: bool) -> dict[str, object]:
        params: dict[str, object] = {"source": script.source}
        if at_once or script.name == self.run_now:
            params["runImmediately"] = True
        if script.world:
            params["worldName"] = script.world
        return params

    def on_answer(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Remember the identifier that Chrome gave to a script."""
        if target not in self._identifiers:
            return ""
        if method == _ADD and answer.error is None:
            self._identifiers[target].append(str(answer.result.get("identifier")))
        self._unanswered[target] -= 1
        if not self._unanswered[target] and target in self._stale:
            self._stale.discard(target)
            self._auto_attacher.resend_to(self, target)
        return answer.error.message if method == _ADD and answer.error is not None else ""

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Send the commands again to a page that navigated before it had answered them all.

        Where the navigation changes the process, Chrome repeats the unanswered commands in the new
        one, and the list may then have a script twice.
        """
        if event.method == "Page.frameNavigated" and self._unanswered.get(target):
            self._stale.add(target)

    def on_detached(self, target: Target) -> None:
        """Forget a target that is gone."""
        self._identifiers.pop(target, None)
        self._unanswered.pop(target, None)
        self._stale.discard(target)


def _to_remove(known: list[str]) -> list[str]:
    """Return the identifiers to remove: the known ones, and a few that a doubled list may have."""
    numbers = [int(identifier) for identifier in known if identifier.isdigit()]
    if not numbers:
        return known
    return [str(number) for number in range(min(numbers), max(numbers) + len(numbers) + 1)]
