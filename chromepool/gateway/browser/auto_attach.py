"""The daemon's own client in a session's Chrome: it is attached to every target before it runs.

The client asks to be attached to every new target, which is then paused (``Target.setAutoAttach``)
until every client that asked for the pause has released it; so Puppeteer and Playwright can make
their own preparations meanwhile. See :mod:`chromepool.gateway.browser.popups` for an exception.
Sessions without options that need it have no such client.
"""

import asyncio
import dataclasses
import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from chromepool.errors import CommandFailed, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.browser.popups import WaitingPopups
from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.mux import OnAnswer

Params = dict[str, Any]
Command = tuple[str, Params]

_KINDS = ("page", "iframe", "worker", "shared_worker", "service_worker")
_AUTO_ATTACH = {
    "autoAttach": True,
    "waitForDebuggerOnStart": True,
    "flatten": True,
    "filter": [*({"type": kind} for kind in _KINDS), {"exclude": True}],
}
_ANSWER_S = 30.0
_METHOD = re.compile(rb'\{"method":"([^"]{1,100})"')
_TARGETS = frozenset({b"Target.attachedToTarget", b"Target.detachedFromTarget"})


@dataclasses.dataclass(eq=False, slots=True)
class Target:
    """A page, frame or worker that the client is attached to."""

    session: str
    """The client's CDP session on the target."""
    id: str
    kind: str
    """``page``, ``iframe``, ``worker``, ``shared_worker`` or ``service_worker``."""
    paused: bool
    """True if the target had not run yet when the client was attached."""


class TargetHook:
    """Base class of what the client does with each target."""

    events: frozenset[bytes] = frozenset()
    """Methods of the events for :meth:`on_event`. Others are not even decoded."""

    def commands(self, target: Target) -> list[Command]:
        """Return the commands for a target; a new one gets them before it runs."""
        raise NotImplementedError

    def on_answer(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """Handle the answer to one of the commands; return an error that the user should see."""
        return ""

    def on_event(self, target: Target, event: cdp.Incoming) -> None:
        """Handle an event of a target."""

    def on_detached(self, target: Target) -> None:
        """Forget a target that is gone."""


class AutoAttacher:
    """Runs hooks on every target of a Chrome. Implements ``cdp.mux.Port``."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._hooks: list[TargetHook] = []
        self._events = _TARGETS
        self._targets: dict[str, Target] = {}
        self._ids = itertools.count(1)
        self._unanswered: dict[int, tuple[Target | None, OnAnswer]] = {}
        self._popups = WaitingPopups(
            browser.paused_targets, self._targets.__contains__, self._sync, self._run
        )
        self._batch: set[int] | None = None
        self._failures: list[str] = []
        self._settled = asyncio.Event()
        self._lock = asyncio.Lock()
        self.patience_s: float | None = None
        """Seconds to wait for a target that hangs and follows later; None: a hang is an error."""

    async def add_hook(self, hook: TargetHook) -> None:
        """Run a hook on all open targets, and on later ones before they run. Raises
        :class:`CommandFailed` where Chrome refuses a command (such as an unknown locale),
        :class:`NoAnswer`, :class:`BrowserGone`."""
        async with self._lock:
            first = not self._hooks
            self._hooks.append(hook)
            self._events |= hook.events
            if first:
                await self._browser.join(self, None)
                await self._settle(lambda: self.send("Target.setAutoAttach", _AUTO_ATTACH))
            else:
                await self._settle(lambda: self.send_to_all(hook))

    async def resend(self, hook: TargetHook) -> None:
        """Send a hook's commands to every target again; raises like :meth:`add_hook`."""
        async with self._lock:
            await self._settle(lambda: self.send_to_all(hook))

    def close(self) -> None:
        """Drop hooks, targets and waiting commands, once Chrome is gone."""
        self._hooks.clear()
        self._popups.close()
        self._targets.clear()
        self._unanswered.clear()

    async def _settle(self, begin: Callable[[], None]) -> None:
        """Call ``begin``, and wait for the answers to all commands that follow from it."""
        self._batch = set()
        self._failures = []
        self._settled.clear()
        begin()
        try:
            async with asyncio.timeout(_ANSWER_S if self.patience_s is None else self.patience_s):
                await self._settled.wait()
        except TimeoutError:
            if self.patience_s is None:
                raise NoAnswer("Chrome did not take the session's options in time.") from None
            self.patience_s = 0.0
            self._browser.log.warning("options.unanswered", commands=len(self._batch))
        finally:
            self._batch = None
        if self._failures:
            raise CommandFailed("; ".join(self._failures))

    def send_to_all(self, hook: TargetHook) -> None:
        """Send a hook's commands to every target, and wait for no answer."""
        for target in self._targets.values():
            self.send_commands(hook, target)
        if not self._batch:
            self._settled.set()

    def send_commands(self, hook: TargetHook, target: Target) -> None:
        """Send a hook's commands to a target, and wait for no answer."""
        for method, params in hook.commands(target):
            self.send(method, params, target, partial(self._on_command, hook, target, method))

    def _on_command(
        self, hook: TargetHook, target: Target, method: str, answer: cdp.Incoming
    ) -> None:
        error = hook.on_answer(target, method, answer)
        if error and self._batch is not None:
            self._failures.append(f"{method}: {error}")

    def send(
        self,
        method: str,
        params: Params,
        target: Target | None = None,
        on_answer: OnAnswer = lambda answer: None,
    ) -> None:
        """Send a command to a target, or to the browser; ``on_answer`` gets Chrome's answer."""
        number = next(self._ids)
        self._unanswered[number] = (target, on_answer)
        if self._batch is not None:
            self._batch.add(number)
        session = None if target is None else target.session
        self._browser.speak(self, cdp.command(number, method, params, session)[:-1])

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """Handle an answer or an event from Chrome."""
        method = _METHOD.match(head)
        if method is not None and method[1] not in self._events:
            return  # no hook wants most events, and decoding each would slow the page down
        try:
            incoming = cdp.decode(bytes(head) + tail)
        except msgspec.DecodeError as error:
            self._browser.log.error("answer.dropped", error=error)
            return
        if incoming.id is not None:
            self._on_answer(incoming.id, incoming)
        elif incoming.method == "Target.attachedToTarget":
            self._on_attached(incoming.params)
        elif incoming.method == "Target.detachedFromTarget":
            self._on_detached(str(incoming.params.get("sessionId")))
        else:
            self._on_event(incoming)

    def _on_event(self, event: cdp.Incoming) -> None:
        target = self._targets.get(event.sessionId or "")
        if target is not None:
            method = event.method.encode()
            for hook in self._hooks:
                if method in hook.events:
                    hook.on_event(target, event)

    def detached(self) -> None:
        """Do nothing: the browser's own target ends with Chrome."""

    def asks_to_close(self) -> None:
        """Do nothing: this client never sends ``Browser.close``."""

    def _on_attached(self, params: Params) -> None:
        info = params["targetInfo"]
        session = str(params["sessionId"])
        paused = bool(params.get("waitingForDebugger"))
        target = Target(session, str(info["targetId"]), str(info["type"]), paused)
        self._targets[session] = target
        try:
            for hook in self._hooks:
                self.send_commands(hook, target)
        finally:  # the target must not hang because of a fault in a hook
            self.send("Target.setAutoAttach", _AUTO_ATTACH, target)
            if paused and info.get("canAccessOpener"):
                self._popups.add(session, target.id)
            elif paused:  # a target that is not paused by this client is not its to release
                self._run(session)

    def _run(self, session: str) -> None:
        self.send("Runtime.runIfWaitingForDebugger", {}, self._targets[session])

    def _sync(self, then: Callable[[], None]) -> None:
        self.send("Browser.getVersion", {}, on_answer=lambda answer: then())

    def _on_detached(self, session: str) -> None:
        target = self._targets.pop(session, None)
        self._popups.remove(session)
        if target is None:
            return
        for number in [n for n, (of, _) in self._unanswered.items() if of is target]:
            self._done(number)  # Chrome does not answer for a session that is gone
        for hook in self._hooks:
            hook.on_detached(target)

    def _on_answer(self, number: int, answer: cdp.Incoming) -> None:
        if number in self._unanswered:
            self._unanswered[number][1](answer)
        self._done(number)

    def _done(self, number: int) -> None:
        self._unanswered.pop(number, None)
        if self._batch is not None:
            self._batch.discard(number)
            if not self._batch:
                self._settled.set()
