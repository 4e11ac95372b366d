"""A client of the daemon's own in a session's Chrome, which meets every target before it runs.

It attaches to the browser like any other client and asks to be attached to whatever opens, paused.
Chrome holds a paused target until every client that asked for it has let it go, so Puppeteer's and
Playwright's own preparations go on undisturbed beside it. Not so a popup that can reach its opener,
which the attendant therefore lets go only after the clients. Sessions that ask for nothing have
none.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from chromepool.errors import CommandFailed, NoAnswer
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.browser.popups import WaitingPopups
from chromepool.gateway.cdp import message as cdp

Command = tuple[str, dict[str, Any]]
OnAnswer = Callable[[cdp.Incoming], None]

_KINDS = ("page", "iframe", "worker", "shared_worker", "service_worker")
_AUTO_ATTACH = {
    "autoAttach": True,
    "waitForDebuggerOnStart": True,
    "flatten": True,
    "filter": [*({"type": kind} for kind in _KINDS), {"exclude": True}],
}
_ANSWER_S = 30.0
_EVENT = b'{"method":"'
_LONGEST_METHOD = 100
_TARGETS = frozenset({b"Target.attachedToTarget", b"Target.detachedFromTarget"})


@dataclasses.dataclass(eq=False, slots=True)
class Target:
    """Something that the attendant is attached to."""

    session: str
    """The CDP session on it."""
    id: str
    kind: str
    """``page``, ``iframe``, ``worker``, ``shared_worker`` or ``service_worker``."""
    paused: bool
    """Whether it has not run yet when the attendant meets it."""


class TargetHook(Protocol):
    """Something the attendant does for a session."""

    events: frozenset[bytes]
    """Methods of the events it hears; no other is even decoded for it."""

    def commands(self, target: Target) -> list[Command]:
        """What to tell a target; for one that opens, before it runs."""

    def answered(self, target: Target, method: str, answer: cdp.Incoming) -> str:
        """What Chrome answered to one of those; an error in words, if it is one for the user."""

    def heard(self, target: Target, event: cdp.Incoming) -> None:
        """An event of a target's."""

    def gone(self, target: Target) -> None:
        """A target is no more."""


class AutoAttacher:
    """Implements ``cdp.mux.Port``."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._hooks: list[TargetHook] = []
        self._heard = _TARGETS
        self._targets: dict[str, Target] = {}
        self._ids = itertools.count(1)
        self._asked: dict[int, tuple[Target | None, OnAnswer]] = {}
        self._popups = WaitingPopups(
            browser.paused_targets, self._is_own, self._ask_anything, self._run
        )
        self._batch: set[int] | None = None
        self._settled = asyncio.Event()
        self._lock = asyncio.Lock()
        self._started = False
        self.patience_s: float | None = None
        """How long targets that hang are waited for in all: they take what they are told as soon as
        they run again. None: a target that does not answer in time is an error."""

    @property
    def targets(self) -> list[Target]:
        """What it is attached to."""
        return list(self._targets.values())

    async def add_hook(self, hook: TargetHook) -> None:
        """One more duty: for the targets that are open, and for all that open later before they
        run. Raises :class:`CommandFailed` where Chrome takes none of it (no such locale, say),
        :class:`NoAnswer`, :class:`BrowserGone`."""
        async with self._lock:
            self._hooks.append(hook)
            self._heard |= hook.events
            if self._started:
                await self._settle(lambda: self._tell_all(hook))
                return
            self._started = True
            await self._browser.join(self, None)
            await self._settle(lambda: self.ask("Target.setAutoAttach", _AUTO_ATTACH))

    async def tell(self, hook: TargetHook) -> None:
        """Tells every target a duty's commands again; raises like :meth:`take_on`."""
        async with self._lock:
            await self._settle(lambda: self._tell_all(hook))

    def tell_one(self, hook: TargetHook, target: Target) -> None:
        """Tells one target a duty's commands again."""
        if target.session in self._targets:
            self._tell(hook, target)

    def let_go(self) -> None:
        """Its Chrome is gone: holds nothing any more."""
        self._hooks.clear()
        self._popups.let_go()
        self._targets.clear()
        self._asked.clear()

    async def _settle(self, begin: Callable[[], None]) -> None:
        """Waits for the answers to everything that ``begin`` leads to."""
        self._batch, failures = set(), list[str]()
        self._failures = failures
        self._settled.clear()
        begin()
        try:
            async with asyncio.timeout(_ANSWER_S if self.patience_s is None else self.patience_s):
                await self._settled.wait()
        except TimeoutError:
            if self.patience_s is None:
                raise NoAnswer("Chrome did not take the session's options in time.") from None
            self.patience_s = 0.0
            self._browser.log.warning("attendant.unanswered", commands=len(self._batch))
        finally:
            self._batch = None
        if failures:
            raise CommandFailed("; ".join(failures))

    def _tell_all(self, hook: TargetHook) -> None:
        for target in self._targets.values():
            self._tell(hook, target)
        if not self._batch:
            self._settled.set()

    def _tell(self, hook: TargetHook, target: Target) -> None:
        for method, params in hook.commands(target):
            self.ask(method, params, target, self._listener(hook, target, method))

    def _listener(self, hook: TargetHook, target: Target, method: str) -> OnAnswer:
        def on_answer(answer: cdp.Incoming) -> None:
            complaint = hook.answered(target, method, answer)
            if complaint and self._batch is not None:
                self._failures.append(f"{method}: {complaint}")

        return on_answer

    def ask(
        self,
        method: str,
        params: dict[str, Any],
        target: Target | None = None,
        on_answer: OnAnswer = lambda answer: None,
    ) -> None:
        """Sends a command to a target, or to the browser; ``on_answer`` gets what comes back."""
        number = next(self._ids)
        self._asked[number] = (target, on_answer)
        if self._batch is not None:
            self._batch.add(number)
        session = None if target is None else target.session
        self._browser.speak(self, cdp.command(number, method, params, session)[:-1])

    # -- what the mux calls --

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        """An answer or an event of Chrome's for it."""
        if not self._concerned(head):
            return
        try:
            incoming = cdp.decode(bytes(head) + tail)
        except msgspec.DecodeError as error:
            self._browser.log.error("attendant.message_dropped", error=error)
            return
        if incoming.id is not None:
            self._on_answer(incoming.id, incoming)
        elif incoming.method == "Target.attachedToTarget":
            self._meet(incoming.params)
        elif incoming.method == "Target.detachedFromTarget":
            self._part(str(incoming.params.get("sessionId")))
        else:
            self._hear(incoming)

    def _concerned(self, head: bytes | memoryview) -> bool:
        """Most events of a page that is listened to are for nobody, and a page waits for each."""
        start = bytes(head[:_LONGEST_METHOD])
        if not start.startswith(_EVENT):
            return True
        end = start.find(b'"', len(_EVENT))
        return end < 0 or start[len(_EVENT) : end] in self._heard

    def _hear(self, event: cdp.Incoming) -> None:
        target = self._targets.get(event.sessionId or "")
        if target is not None:
            method = event.method.encode()
            for hook in self._hooks:
                if method in hook.events:
                    hook.heard(target, event)

    def detached(self) -> None:
        """The browser's own target ends with Chrome."""

    def asks_to_close(self) -> None:
        """It never does."""

    # -- targets --

    def _meet(self, params: dict[str, Any]) -> None:
        info = params["targetInfo"]
        session, paused = str(params["sessionId"]), bool(params.get("waitingForDebugger"))
        target = Target(session, str(info["targetId"]), str(info["type"]), paused)
        self._targets[session] = target
        try:
            for hook in self._hooks:
                self._tell(hook, target)
        finally:  # whatever went wrong, it must not hang
            self.ask("Target.setAutoAttach", _AUTO_ATTACH, target)
            if paused and info.get("canAccessOpener"):
                self._popups.add(session, target.id)
            elif paused:  # else it is not the attendant's to let go; nor what stands still with it
                self._run(session)

    def _run(self, session: str) -> None:
        self.ask("Runtime.runIfWaitingForDebugger", {}, self._targets[session])

    def _is_own(self, session: str) -> bool:
        return session in self._targets

    def _ask_anything(self, then: Callable[[], None]) -> None:
        self.ask("Browser.getVersion", {}, on_answer=lambda answer: then())

    def _part(self, session: str) -> None:
        target = self._targets.pop(session, None)
        self._popups.remove(session)
        if target is None:
            return
        for number in [n for n, (of, _) in self._asked.items() if of is target]:
            self._done(number)  # Chrome answers for no session that is gone
        for hook in self._hooks:
            hook.gone(target)

    def _on_answer(self, number: int, answer: cdp.Incoming) -> None:
        _, on_answer = self._asked.get(number, (None, None))
        if on_answer is not None:
            on_answer(answer)
        self._done(number)

    def _done(self, number: int) -> None:
        self._asked.pop(number, None)
        if self._batch is not None:
            self._batch.discard(number)
            if not self._batch:
                self._settled.set()
