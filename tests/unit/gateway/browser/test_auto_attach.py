"""How a session's scripts get into its pages, with a Chrome that answers when the test says so."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from chromepool.config import Settings
from chromepool.errors import InvalidRequest, NoAnswer
from chromepool.gateway.browser import auto_attach
from chromepool.gateway.browser.auto_attach import AutoAttacher
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.cdp.mux import Port
from chromepool.gateway.cdp.paused_targets import PausedTargets
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.spec import CaptureOptions
from chromepool.gateway.store.scripts import Script
from testing.cdp import run

A, B, C = (Script(name, f"source of {name}") for name in "abc")


@dataclasses.dataclass
class Page:
    """What Chrome has of one."""

    scripts: dict[str, str] = dataclasses.field(default_factory=dict)
    """Sources by identifier, in the order in which they run."""
    at_once: list[str] = dataclasses.field(default_factory=list)
    """Sources that were run in the open document."""
    last: int = 0


class Chrome:
    """As much of a ``Browser`` as an auto-attacher needs. Each page answers in order."""

    def __init__(self) -> None:
        self.paused_targets = PausedTargets()
        self.pages: dict[str, Page] = {}
        self.mute: set[str] = set()
        """Sessions of pages that answer nothing for now."""
        self.refuses = ("", "")
        """A page's session, and the source that it does not take."""
        self._port: Port | None = None
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()

    async def join(self, port: Port, target: str | None) -> None:
        self._port = port

    def speak(self, port: Port, message: bytes) -> None:
        self._waiting.append(json.loads(message))
        asyncio.get_running_loop().call_soon(self.answer)

    def open(self, session: str, *, paused: bool = True) -> None:
        self.pages[session] = Page()
        info = {"targetId": session, "type": "page"}
        params = {"sessionId": session, "targetInfo": info, "waitingForDebugger": paused}
        self._deliver({"method": "Target.attachedToTarget", "params": params})

    def answer(self) -> None:
        """To everything that is asked of pages that are not mute."""
        for command in [c for c in self._waiting if c.get("sessionId") not in self.mute]:
            self._waiting.remove(command)
            answer = {"id": command["id"], **self._do(command)}
            if "sessionId" in command:
                answer["sessionId"] = command["sessionId"]
            self._deliver(answer)

    def _do(self, command: dict[str, Any]) -> dict[str, Any]:
        params, page = command["params"], self.pages.get(command.get("sessionId", ""), Page())
        if command["method"] == "Page.addScriptToEvaluateOnNewDocument":
            if (command["sessionId"], params["source"]) == self.refuses:
                return {"error": {"code": -32000, "message": "No such world"}}
            page.last += 1
            page.scripts[str(page.last)] = params["source"]
            if params.get("runImmediately"):
                page.at_once.append(params["source"])
            return {"result": {"identifier": str(page.last)}}
        if command["method"] == "Page.removeScriptToEvaluateOnNewDocument":
            page.scripts.pop(params["identifier"], None)
        return {"result": {}}

    def _deliver(self, message: dict[str, Any]) -> None:
        assert self._port is not None
        self._port.deliver(json.dumps(message, separators=(",", ":")).encode())

    def sources(self, session: str) -> list[str]:
        return list(self.pages[session].scripts.values())


def _artifacts(chrome: Chrome, on_change: Callable[[], None] = lambda: None) -> Artifacts:
    auto_attacher = AutoAttacher(cast(Browser, chrome))
    settings = Settings(max_scripts=10)
    clock = asyncio.get_running_loop().time
    return Artifacts(settings, clock, lambda: auto_attacher, on_change)


async def _finish(chrome: Chrome) -> None:
    """Every page answers everything that is asked, and what that leads to."""
    chrome.mute.clear()
    for _ in range(10):
        chrome.answer()
        await asyncio.sleep(0)


@pytest.mark.parametrize("change", ["removed", "replaced", "added"])
def test_a_change_while_a_new_page_has_not_answered_yet(change: str) -> None:
    async def scenario() -> None:
        chrome = Chrome()
        artifacts = _artifacts(chrome)
        await artifacts.begin(CaptureOptions(scripts=(A, B)))
        chrome.mute.add("page")
        chrome.open("page")
        if change == "removed":
            work, wanted = asyncio.create_task(artifacts.remove_script("a")), [B.source]
        elif change == "replaced":
            new = Script("a", "another")
            work = asyncio.create_task(_put(artifacts, new))
            wanted = ["another", B.source]
        else:
            work = asyncio.create_task(artifacts.add_script(C, run_now=False))
            wanted = [A.source, B.source, C.source]
        for _ in range(3):
            await asyncio.sleep(0)
        assert not work.done()
        chrome.mute.clear()
        chrome.answer()
        await asyncio.wait_for(work, 60)
        assert chrome.sources("page") == wanted  # no later than it is told
        await artifacts.remove_script("b")
        assert chrome.sources("page") == [source for source in wanted if source != B.source]

    run(scenario())


async def _put(artifacts: Artifacts, script: Script) -> None:
    await artifacts.put_script(script, run_now=False)


def test_two_changes_while_a_new_page_has_not_answered_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_attach, "_ANSWER_S", 0.02)

    async def scenario() -> None:
        chrome = Chrome()
        artifacts = _artifacts(chrome)
        await artifacts.begin(CaptureOptions(scripts=(A, B, C)))
        chrome.mute.add("page")
        chrome.open("page")
        for name in ("a", "c"):
            with pytest.raises(NoAnswer):
                await artifacts.remove_script(name)
        await _finish(chrome)
        assert chrome.sources("page") == [B.source]

    run(scenario())


def test_a_page_that_hangs_takes_a_new_script_back_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_attach, "_ANSWER_S", 0.02)

    async def scenario() -> None:
        chrome = Chrome()
        artifacts = _artifacts(chrome)
        await artifacts.begin(CaptureOptions(scripts=(A,)))
        for session in ("fine", "hangs"):
            chrome.open(session)
        await _finish(chrome)
        chrome.mute.add("hangs")
        with pytest.raises(NoAnswer):
            await artifacts.add_script(B, run_now=True)
        with pytest.raises(NoAnswer):
            await _put(artifacts, Script("a", "another"))
        assert artifacts.scripts.all() == [A]
        await _finish(chrome)
        assert [chrome.sources(session) for session in ("fine", "hangs")] == [[A.source]] * 2
        await artifacts.add_script(B, run_now=False)
        assert [chrome.sources(session) for session in ("fine", "hangs")] == [
            [A.source, B.source]
        ] * 2

    run(scenario())


def test_a_script_is_not_run_at_once_in_pages_that_come_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_attach, "_ANSWER_S", 0.02)

    async def scenario() -> None:
        chrome = Chrome()
        artifacts = _artifacts(chrome)
        await artifacts.begin(CaptureOptions(scripts=(A,)))
        chrome.open("hangs", paused=False)
        await _finish(chrome)
        chrome.mute.add("hangs")
        with pytest.raises(NoAnswer):
            await artifacts.put_script(A, run_now=True)
        chrome.open("later", paused=False)
        await _finish(chrome)
        assert chrome.sources("later") == [A.source]
        assert chrome.pages["later"].at_once == []

    run(scenario())


def test_one_that_is_removed_is_gone_for_good_though_a_page_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_attach, "_ANSWER_S", 0.02)

    async def scenario() -> None:
        chrome = Chrome()
        noted: list[list[Script]] = []
        artifacts = _artifacts(chrome, lambda: noted.append(artifacts.scripts.all()))
        await artifacts.begin(CaptureOptions(scripts=(A,)))
        chrome.open("hangs")
        await _finish(chrome)
        chrome.mute.add("hangs")
        with pytest.raises(NoAnswer):
            await artifacts.remove_script("a")
        assert noted[-1] == []
        await _finish(chrome)
        assert chrome.sources("hangs") == []

    run(scenario())


def test_one_that_chrome_refuses_is_taken_back_everywhere() -> None:
    async def scenario() -> None:
        chrome = Chrome()
        artifacts = _artifacts(chrome)
        await artifacts.begin(CaptureOptions(scripts=(A,)))
        for session in ("fine", "refuses"):
            chrome.open(session)
        await _finish(chrome)
        chrome.refuses = ("refuses", B.source)
        with pytest.raises(InvalidRequest, match="No such world"):
            await artifacts.add_script(B, run_now=False)
        await _finish(chrome)
        assert artifacts.scripts.all() == [A]
        assert [chrome.sources(session) for session in ("fine", "refuses")] == [[A.source]] * 2

    run(scenario())
