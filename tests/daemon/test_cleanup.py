"""Nothing is left of a session, however it ends. Real Chrome, real kills."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import signal
from pathlib import Path

import aiohttp
import psutil

from testing.cdp import connect, run
from testing.daemon import Daemon, is_alive, wait_for

_CYCLES = 200
_KILLS = 30


def _descriptors(process: psutil.Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def _zombies(daemon: Daemon) -> list[psutil.Process]:
    tree = psutil.Process(daemon.pid).children(recursive=True)
    return [p for p in tree if p.status() == psutil.STATUS_ZOMBIE]


def _kept(daemon: Daemon) -> list[str]:
    """What the supervisor still has of ended sessions, for a gateway that may have missed it."""
    folder, kept = Path(f"/proc/{daemon.pid}/fd"), []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if "chromepool-session" in os.readlink(folder / name):
                kept.append(name)
    return kept


class _Books:
    """What a daemon without sessions holds."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        wait_for(lambda: not _kept(daemon), "the session before is forgotten")
        self._before = self._count()

    def _count(self) -> dict[str, int]:
        daemon = self._daemon
        supervisor = psutil.Process(daemon.pid)
        status = daemon.ask("GET", "/v1/status").json
        mounts = Path(f"/proc/{daemon.pid}/mountinfo").read_text()
        return {
            "children": len(supervisor.children(recursive=True)),
            "supervisor descriptors": _descriptors(supervisor),
            "gateway descriptors": _descriptors(daemon.gateway),
            "groups": len(daemon.leaves()),
            "profiles": len(daemon.profiles()),
            "mounts": mounts.count(str(daemon.folder)),  # others of this machine mount, too
            "places": status["sessions"]["now"],
            "tasks": status["gateway"]["tasks"],
        }

    def balance(self) -> None:
        """Everything is as it was before."""
        assert not _zombies(self._daemon)
        wait_for(lambda: self._count() == self._before, f"{self._count()} == {self._before}", 20)


def test_200_cycles_leave_nothing(daemon: Daemon) -> None:
    daemon.delete(daemon.new()["id"])
    books = _Books(daemon)
    for _ in range(_CYCLES):
        assert daemon.delete(daemon.new()["id"]) == 204
        assert not daemon.leaves(), "DELETE returned too early"
        assert not daemon.profiles(), "DELETE returned too early"
    books.balance()


def test_sessions_start_while_others_end(daemon: Daemon) -> None:
    """Descriptors, groups and uids of the one are free just when the other needs some."""
    daemon.delete(daemon.new()["id"])
    books = _Books(daemon)

    def some() -> None:
        for _ in range(15):
            assert daemon.delete(daemon.new()["id"]) == 204

    with concurrent.futures.ThreadPoolExecutor(5) as threads:
        for work in [threads.submit(some) for _ in range(5)]:
            work.result()
    books.balance()


def test_kills_at_random_moments_leave_nothing(tmp_path: Path) -> None:
    """Some before Chrome answers, some while it is driven, some of a process below."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, breaker_failures=1000, start_attempts=1) as daemon:
        _kill_at_random(daemon)


def _kill_at_random(daemon: Daemon) -> None:
    daemon.delete(daemon.new()["id"])
    books = _Books(daemon)
    chance = random.Random(20261122)

    async def one() -> None:
        answer = await asyncio.to_thread(daemon.ask, "POST", "/v1/sessions")
        if answer.status != 201:
            assert answer.status == 503
            assert answer.json["code"] == "start_failed", answer.body
            return
        session = answer.json
        # Where it is dead before we come, the handshake is refused: 404 or 410.
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            async with connect(session["webSocketDebuggerUrl"]) as client:
                await client.send("Target.createTarget", {"url": "data:text/html,x"})
                await client.closed()
        ended = await asyncio.to_thread(daemon.wait_ended, session["id"])
        assert ended["exit"]["reason"] == "crashed"
        assert ended["exit"]["signal"] == "SIGKILL"

    async def kill_soon(count: int) -> None:
        while count:
            await asyncio.sleep(chance.uniform(0, 0.15))
            for chrome in daemon.chromes()[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):  # it was over by itself
                    chrome.kill()
                    count -= 1

    async def everything() -> None:
        killer = asyncio.create_task(kill_soon(_KILLS))
        while not killer.done():
            await one()
        await killer

    run(everything())
    books.balance()


def test_a_killed_chrome_tells_why(shared_daemon: Daemon) -> None:
    session = shared_daemon.new()

    async def watch() -> tuple[int | None, str]:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            await client.call("Browser.getVersion")
            os.kill(session["pid"], signal.SIGSEGV)
            return await client.closed()

    code, reason = run(watch())
    assert code == 1011
    assert "crashed" in reason
    assert "SIGSEGV" in reason
    ended = shared_daemon.wait_ended(session["id"])
    assert ended["exit"]["signal"] == "SIGSEGV"
    assert ended["usage"]["memory_peak_bytes"] is None or ended["usage"]["memory_peak_bytes"] > 0


def test_sigkill_of_the_daemon_leaves_no_chrome_alive(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    daemon = Daemon(tmp_path).start()
    for _ in range(3):
        daemon.new()
    processes = psutil.Process(daemon.pid).children(recursive=True)
    assert len(processes) > 10
    daemon.process.kill()
    daemon.process.wait()
    # A second is what is promised; the deadline here is for a machine under load.
    wait_for(lambda: not [p for p in processes if is_alive(p)], "all are dead", 10)
    daemon._reader.join()
    with Daemon(tmp_path, port=0) as reborn:  # finds the groups and profiles, and removes them
        assert not reborn.leaves()
        assert not reborn.profiles()
        assert "leftovers.removed" in reborn.text
        reborn.delete(reborn.new()["id"])


def test_a_renderer_killed_is_only_a_tab(shared_daemon: Daemon) -> None:
    session = shared_daemon.new()

    async def watch() -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Inspector.enable", None, page)
            # Once it answers it is up: just forked it still bears its zygote's command line.
            assert await client.evaluate("1", page) == 1
            for process in psutil.Process(session["pid"]).children(recursive=True):
                if "--type=renderer" in process.cmdline():
                    process.kill()
            await client.wait_event("Inspector.targetCrashed")
            _, fresh = await client.open_page()
            assert await client.evaluate("6*7", fresh) == 42

    run(watch())
    assert wait_for(lambda: shared_daemon.show(session["id"])["crashes"], "the crash is told")
    assert shared_daemon.show(session["id"])["state"] == "ready"
