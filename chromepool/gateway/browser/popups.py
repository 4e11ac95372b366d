"""Popups that wait before their first document.

Chrome holds a paused target until every client that asked for it has let it go. Not so a popup that
can reach its opener: the opener's process stands still with it, and both go on as soon as the first
of the clients lets it go (measured).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.mux import Mux
from chromepool.gateway.cdp.paused_targets import PausedTargets

_TAB_S = 10.0
"""So long a popup waits for tabs that are paused: any may be its own, or none."""


@dataclasses.dataclass(slots=True)
class _Popup:
    target: str
    timer: asyncio.TimerHandle
    heeds_tabs: bool = True


class WaitingPopups:
    """Popups that the daemon has paused, to be let go by it after its clients.

    A popup is let go once no client holds it, however long that takes, and no client holds a tab
    for more than ten seconds: by a tab Puppeteer comes to hold the page.
    """

    def __init__(
        self,
        paused_targets: PausedTargets,
        own: Callable[[str], bool],
        ask: Callable[[Callable[[], None]], None],
        release: Callable[[str], None],
        *,
        tab_s: float = _TAB_S,
    ) -> None:
        """``own`` tells whether a CDP session is the daemon's; ``ask`` has Chrome answer anything,
        when all that it had to say before has come; ``release`` lets a popup go by its session."""
        self._holds, self._own = paused_targets, own
        self._ask, self._release = ask, release
        self._tab_s = tab_s
        self._popups: dict[str, _Popup] = {}
        self._changes = 0
        paused_targets.on_release = self._on_change

    def add(self, session: str, target: str) -> None:
        """One more, by the daemon's session on it. The clients may not have been told of it yet."""
        timer = asyncio.get_running_loop().call_later(self._tab_s, self._expire, session)
        self._popups[session] = _Popup(target, timer)
        self._on_change()

    def remove(self, session: str) -> None:
        """It is gone, or let go."""
        popup = self._popups.pop(session, None)
        if popup is not None:
            popup.timer.cancel()

    def let_go(self) -> None:
        """All of them are gone, and Chrome with them. Holds nothing any more."""
        for session in list(self._popups):
            self.remove(session)
        self._holds = PausedTargets()
        self._own, self._ask, self._release = lambda s: False, lambda then: None, lambda s: None

    def _on_change(self) -> None:
        self._changes += 1
        if self._popups:  # a client's message that has just been read is to reach Chrome first
            asyncio.get_running_loop().call_soon(self._look_later, self._changes)

    def _look_later(self, change: int) -> None:
        if change == self._changes and self._popups:
            self._ask(lambda: self._look(change))

    def _look(self, change: int) -> None:
        """Unless more has changed since Chrome was asked: a client that has let a tab go meets the
        tab's page only after that."""
        if change != self._changes:
            return
        for session, popup in list(self._popups.items()):
            if not self._is_held(popup):
                self.remove(session)
                self._release(session)

    def _is_held(self, popup: _Popup) -> bool:
        holders = self._holds.of(popup.target)
        if popup.heeds_tabs:
            holders |= self._holds.of_tabs()
        return any(not self._own(session.decode()) for session in holders)

    def _expire(self, session: str) -> None:
        self._popups[session].heeds_tabs = False
        self._on_change()


def let_run(mux: Mux, write: Callable[[bytes], None]) -> None:
    """Lets those go that waited for a client which is gone. One that was paused by its tab runs
    when a session on its page says so, and there is none (measured); one that runs does not mind.
    """

    def on_attached(answer: cdp.Incoming) -> None:
        session = answer.result.get("sessionId")
        if session is not None:
            write(mux.release(session) + mux.end(session))

    def on_targets(answer: cdp.Incoming) -> None:
        for info in answer.result.get("targetInfos", ()):
            first = info["type"] == "page" and not info["url"]  # no document is there yet
            if first and not mux.paused_targets.of(info["targetId"]):
                params = {"targetId": info["targetId"], "flatten": True}
                attach = mux.command("Target.attachToTarget", params, on_attached, mux.base)
                write(attach)

    write(mux.command("Target.getTargets", {}, on_targets))
