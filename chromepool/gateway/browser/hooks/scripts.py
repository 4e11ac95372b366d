"""Installing a session's persistent scripts in Chrome, target by target."""

import dataclasses

from chromepool.gateway.browser.auto_attach import AutoAttacher, Command, Target, TargetHook
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.store.scripts import Script, Scripts

_ADD = "Page.addScriptToEvaluateOnNewDocument"
_REMOVE = "Page.removeScriptToEvaluateOnNewDocument"


@dataclasses.dataclass(slots=True)
class _State:
    """Scripts of a target, as far as they are known."""

    identifiers: list[str] = dataclasses.field(default_factory=list)
    unanswered: int = 0
    """Number of commands without an answer; until it is 0 not all identifiers are known."""
    stale: bool = False
    """True if the target gets its commands again once it has answered."""


class ScriptsHook(TargetHook):
    """Keeps the list of scripts in every page and frame equal to :class:`Scripts`. Chrome runs them
    in the order in which they were added, so a change removes all and adds all again."""

    events = frozenset({b"Page.frameNavigated"})

    def __init__(self, auto_attacher: AutoAttacher, scripts: Scripts) -> None:
        self._auto_attacher = auto_attacher
        self._scripts = scripts
        self._states: dict[Target, _State] = {}
        self.run_now = ""
        """Name of a script that also runs once in the documents that are open."""

    def commands(self, target: Target) -> list[Command]:
        """Return the commands that turn the target's list of scripts into the current one."""
        if target.kind not in ("page", "iframe"):
            return []
        new = target not in self._states
        state = self._states.setdefault(target, _State())
        if state.unanswered:
            # Chrome answers in order: this answer comes after those that are still missing, and
            # whoever waits for it then also waits for the commands that follow.
            state.stale = True
            state.unanswered += 1
            return [("Page.enable", {})]
        # Without Page.enable the scripts have no effect. Without Runtime.enable a document has no
        # world to run scripts in until it has a script of its own, or a client evaluates one.
        found: list[Command] = [("Page.enable", {}), ("Runtime.enable", {})] if new else []
        found += [(_REMOVE, {"identifier": known}) for known in _to_remove(state.identifiers)]
        at_once = target.paused and new  # its first, empty document exists already
        found += [(_ADD, self._params(each, at_once)) for each in self._scripts.all()]
        state.identifiers = []
        state.unanswered = len(found)
        return found

    def _params(self, script: Script, at_once: bool) -> dict[str, object]:
        params: dict[str, object] = {"source": script.source}
        if at_once or script.name == self.run_now:
            params["runImmediately"] = True
        if script.world:
            params["worldName"] = script.world
        return params

    def on_answer(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Remember the identifier that Chrome gave to a script."""
        state = self._states.get(target)
        if state is None:
            return ""
        error = "" if answer.error is None else answer.error.message
        if method == _ADD and answer.error is None:
            state.identifiers.append(str(answer.result.get("identifier")))
        state.unanswered -= 1
        if state.stale and not state.unanswered:
            state.stale = False
            self._auto_attacher.send_commands(self, target)
        return error if method == _ADD else ""

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Send the commands again to a page that navigated before it had answered them all. Chrome
        repeats them in a new process, and the list may then have a script twice."""
        state = self._states.get(target)
        if state is not None and state.unanswered:
            state.stale = True

    def on_detached(self, target: Target) -> None:
        """Forget a target that is gone."""
        self._states.pop(target, None)


def _to_remove(known: list[str]) -> list[str]:
    """Return the identifiers to remove: the known ones, and a few that a doubled list may have."""
    numbers = [int(identifier) for identifier in known if identifier.isdigit()]
    if not numbers:
        return known
    return [str(number) for number in range(min(numbers), max(numbers) + len(numbers) + 1)]
