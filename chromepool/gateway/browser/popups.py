"""Popups that wait before their first document.

Chrome keeps a paused target paused until every client that asked for the pause has released it. Not
so a popup that can reach its opener: it shares the opener's process, which is paused with it, and
both run as soon as the first client releases the popup (measured).
"""

import asyncio
import dataclasses
from collections.abc import Callable

from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.mux import Mux
from chromepool.gateway.cdp.paused_targets import PausedTargets

_TAB_S = 10.0
"""Time that a popup waits for paused tabs: its own may be among them, or not."""


@dataclasses.dataclass(slots=True)
class _Popup:
    target: str
    timer: asyncio.TimerHandle
    waits_for_tabs: bool = True


class WaitingPopups:
    """Popups that stay paused until no client keeps them paused, however long that takes, nor, for
    ten seconds, any tab: Puppeteer attaches to a page through its tab."""

    def __init__(
        self,
        paused_targets: PausedTargets,
        is_own: Callable[[str], bool],
        ask: Callable[[Callable[[], None]], None],
        release: Callable[[str], None],
        *,
        tab_s: float = _TAB_S,
    ) -> None:
        """``is_own`` finds the daemon's CDP sessions. ``ask`` calls back on an answer of Chrome, by
        which all that it sent before has arrived. ``release`` lets a session's popup run."""
        self._paused_targets = paused_targets
        self._is_own = is_own
        self._ask = ask
        self._release = release
        self._tab_s = tab_s
        self._popups: dict[str, _Popup] = {}
        self._changes = 0
        paused_targets.subscribe(self._on_change)

    def add(self, session: str, target: str) -> None:
        """Add a popup by the daemon's session on it. Clients may still have to be attached."""
        timer = asyncio.get_running_loop().call_later(self._tab_s, self._expire, session)
        self._popups[session] = _Popup(target, timer)
        self._on_change()

    def remove(self, session: str) -> None:
        """Remove a popup that is released or closed."""
        popup = self._popups.pop(session, None)
        if popup is not None:
            popup.timer.cancel()

    def close(self) -> None:
        """Remove all popups, once Chrome is gone."""
        for session in list(self._popups):
            self.remove(session)
        self._paused_targets.unsubscribe(self._on_change)

    def _on_change(self) -> None:
        self._changes += 1
        if self._popups:  # later: the client's message that led here has to reach Chrome first
            asyncio.get_running_loop().call_soon(self._check_later, self._changes)

    def _check_later(self, change: int) -> None:
        if change == self._changes and self._popups:
            self._ask(lambda: self._check(change))

    def _check(self, change: int) -> None:
        """Release the popups that no client keeps paused, unless more has changed since Chrome was
        asked: a client that releases a tab is attached to the tab's page only afterwards."""
        if change != self._changes:
            return
        for session, popup in list(self._popups.items()):
            if not self._is_paused(popup):
                self.remove(session)
                self._release(session)

    def _is_paused(self, popup: _Popup) -> bool:
        sessions = self._paused_targets.of(popup.target)
        if popup.waits_for_tabs:
            sessions |= self._paused_targets.of_tabs()
        return any(not self._is_own(session.decode()) for session in sessions)

    def _expire(self, session: str) -> None:
        self._popups[session].waits_for_tabs = False
        self._on_change()


def release_orphaned(mux: Mux, write: Callable[[bytes], None]) -> None:
    """Release the popups that a detached client had paused through their tabs. They run only when a
    session on their page asks for it (measured); one that runs already ignores the command."""

    def on_attached(answer: cdp.Incoming) -> None:
        session = answer.result.get("sessionId")
        if session is not None:
            write(mux.release(session) + mux.end(session))

    def on_targets(answer: cdp.Incoming) -> None:
        for info in answer.result.get("targetInfos", ()):
            is_new = info["type"] == "page" and not info["url"]  # it has no document yet
            if is_new and not mux.paused_targets.of(info["targetId"]):
                params = {"targetId": info["targetId"], "flatten": True}
                write(mux.command("Target.attachToTarget", params, on_attached, mux.base))

    write(mux.command("Target.getTargets", {}, on_targets))
