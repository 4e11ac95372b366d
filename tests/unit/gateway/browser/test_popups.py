"""How long the daemon's own client waits for the clients that paused a popup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chromepool.gateway.browser.popups import WaitingPopups
from chromepool.gateway.cdp.paused_targets import PausedTargets
from testing.cdp import run


class _Said:
    """Popups that wait, what they were let go by, and a Chrome that answers when told to."""

    def __init__(self, tab_s: float = 60.0) -> None:
        self.paused_targets, self.gone = PausedTargets(), list[str]()
        self.asked: list[Callable[[], None]] = []
        own = {"own"}.__contains__
        self.popups = WaitingPopups(
            self.paused_targets, own, self.asked.append, self.gone.append, tab_s=tab_s
        )

    def meet(self, *clients: str, kind: str = "page") -> None:
        """The daemon and these clients meet a popup, or the clients its tab."""
        self.paused_targets.add(b"own", {"targetId": "P", "type": "page"})
        for client in clients:
            self.paused_targets.add(
                client.encode(), {"targetId": "P" if kind == "page" else "T"} | {"type": kind}
            )
        self.popups.add("own", "P")

    async def turn(self) -> None:
        """Chrome answers all that it was asked."""
        await asyncio.sleep(0)
        asked, self.asked[:] = self.asked[:], []
        for then in asked:
            then()


def test_without_a_client_it_waits_for_one_answer() -> None:
    async def scenario() -> None:
        said = _Said()
        said.meet()
        await asyncio.sleep(0)
        assert said.gone == []
        await said.turn()
        assert said.gone == ["own"]
        said.popups.close()

    run(scenario())


def test_every_client_is_waited_for_however_long() -> None:
    async def scenario() -> None:
        said = _Said(tab_s=0.0)
        said.meet("one", "two")
        await said.turn()
        said.paused_targets.remove(b"one")
        await asyncio.sleep(0.01)
        await said.turn()
        assert said.gone == []
        said.paused_targets.remove(b"two")
        await said.turn()
        assert said.gone == ["own"]

    run(scenario())


def test_a_page_met_after_its_tab_was_let_go_is_waited_for() -> None:
    async def scenario() -> None:
        said = _Said()
        said.meet("tab", kind="tab")
        await asyncio.sleep(0)
        assert len(said.asked) == 1
        said.paused_targets.remove(b"tab")  # while Chrome answers: that answer is from before
        early, said.asked[:] = said.asked[0], []
        early()
        assert said.gone == []
        await asyncio.sleep(0)
        said.paused_targets.add(b"page", {"targetId": "P", "type": "page"})
        await said.turn()
        assert said.gone == []
        said.paused_targets.remove(b"page")
        await said.turn()
        assert said.gone == ["own"]

    run(scenario())


def test_one_that_is_gone_is_let_go_by_nobody() -> None:
    async def scenario() -> None:
        said = _Said()
        said.meet()
        await asyncio.sleep(0)
        said.popups.remove("own")
        await said.turn()
        assert said.gone == []

    run(scenario())
