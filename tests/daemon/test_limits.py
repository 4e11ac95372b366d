"""The kernel's limits, met by real pages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testing.cdp import Cdp, connect, run
from testing.daemon import Daemon, wait_for

MIB = 1024 * 1024
NewSession = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="cgroup limits need root here")

# Outside the JavaScript heap, whose own limit would end the page first.
_EAT = """
window.hoard = [];
(async () => {
  for (;;) {
    hoard.push(new Uint8Array(16 * 1024 * 1024).fill(1));
    await new Promise(done => setTimeout(done, 0));
  }
})();
0
"""

_WORKERS = """
window.workers = [];
const url = URL.createObjectURL(new Blob(['setInterval(() => 0, 1000)']));
for (let i = 0; i < 60; i++) workers.push(new Worker(url));
0
"""


async def _works(client: Cdp, page: str) -> None:
    assert await client.evaluate("6*7", page) == 42


def test_a_page_that_eats_memory_ends_as_out_of_memory(
    shared_daemon: Daemon, new_session: NewSession
) -> None:
    greedy = new_session(limits={"memory_bytes": 256 * MIB})
    neighbour = new_session()

    async def eat() -> None:
        async with connect(neighbour["webSocketDebuggerUrl"]) as quiet:
            _, other = await quiet.open_page()
            async with connect(greedy["webSocketDebuggerUrl"]) as client:
                _, page = await client.open_page()
                await client.call("Inspector.enable", None, page)
                await client.evaluate(_EAT, page)
                while True:  # until the tab crashes or the session ends
                    frame = await client.socket.receive(timeout=120)
                    if frame.data is None or isinstance(frame.data, int):
                        break
                    if "Inspector.targetCrashed" in frame.data:
                        break
            await _works(quiet, other)

    run(eat())
    wait_for(
        lambda: shared_daemon.show(greedy["id"])["usage"]["oom_kills"], "an OOM kill is counted"
    )
    shown = shared_daemon.show(greedy["id"])
    if shown["exit"] is None:
        assert shown["state"] == "ready"
        wait_for(lambda: shared_daemon.show(greedy["id"])["crashes"], "the tab's end is told")
        assert shared_daemon.show(greedy["id"])["crashes"][0]["reason"] == "out_of_memory"
    else:
        assert shown["exit"]["reason"] == "out_of_memory"
    assert shared_daemon.show(neighbour["id"])["state"] == "ready"


def test_a_browser_killed_for_memory_ends_its_session_as_such(
    shared_daemon: Daemon, new_session: NewSession
) -> None:
    """The first process itself goes over the cap: the session's end says so."""
    session = new_session(limits={"memory_bytes": 256 * MIB})
    # The kernel is told to choose the browser before the page that eats.
    Path(f"/proc/{session['pid']}/oom_score_adj").write_text("1000")

    async def eat() -> tuple[int | None, str]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.evaluate(_EAT, page)
            return await client.closed()

    code, reason = run(eat())
    ended = shared_daemon.wait_ended(session["id"])
    assert ended["exit"]["reason"] == "out_of_memory"
    assert ended["exit"]["signal"] == "SIGKILL"
    assert ended["exit"]["oom_kills"] >= 1
    assert code == 1011
    assert "out_of_memory" in reason


def test_the_javascript_heap_has_a_limit_of_its_own(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    """The page ends by V8's limit, well before the kernel has to kill anything."""

    async def fill() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Inspector.enable", None, page)
            objects = "let all = []; for (;;) all.push({a: Math.random(), b: [1, 2, 3]})"
            await client.send("Runtime.evaluate", {"expression": objects}, page)
            await client.wait_event("Inspector.targetCrashed")

    run(fill())
    wait_for(lambda: shared_daemon.show(session["id"])["crashes"], "the tab's end is told")
    shown = shared_daemon.show(session["id"])
    assert shown["state"] == "ready"
    assert shown["usage"]["oom_kills"] == 0
    assert shown["usage"]["memory_peak_bytes"] < 512 * MIB


def test_workers_without_end_meet_the_pids_cap(
    shared_daemon: Daemon, new_session: NewSession
) -> None:
    bomb = new_session(limits={"pids": 100})
    neighbour = new_session()

    async def explode() -> None:
        async with connect(bomb["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.send("Runtime.evaluate", {"expression": _WORKERS}, page)
            wait_for(
                lambda: shared_daemon.show(bomb["id"])["usage"]["pids_refused"],
                "the kernel refuses to fork",
            )
        async with connect(neighbour["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await _works(client, page)

    run(explode())


def test_the_limits_asked_for_are_the_limits_set(
    shared_daemon: Daemon, new_session: NewSession
) -> None:
    session = new_session(limits={"memory_bytes": 128 * MIB, "pids": 300, "cpu_cores": 0.5})
    shown = shared_daemon.show(session["id"])["limits"]
    assert shown["enforced"]
    values = {
        file.name: file.read_text().strip()
        for leaf in shared_daemon.leaves()
        for file in leaf.iterdir()
        if file.name
        in ("memory.limit_in_bytes", "memory.max", "pids.max", "cpu.cfs_quota_us", "cpu.max")
    }
    assert str(128 * MIB) in (values.get("memory.limit_in_bytes"), values.get("memory.max"))
    assert values["pids.max"] == "300"
    assert values.get("cpu.cfs_quota_us") == "50000" or values["cpu.max"] == "50000 100000"
