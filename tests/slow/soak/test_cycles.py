"""Many sessions, one after another and at once, and nothing is left of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
from pathlib import Path

import aiohttp
import psutil

from testing.cdp import connect, run
from testing.daemon import Daemon, wait_for

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


class _LeakCheck:
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
    leaks = _LeakCheck(daemon)
    for _ in range(_CYCLES):
        assert daemon.delete(daemon.new()["id"]) == 204
        assert not daemon.leaves(), "DELETE returned too early"
        assert not daemon.profiles(), "DELETE returned too early"
    leaks.balance()


def test_sessions_start_while_others_end(daemon: Daemon) -> None:
    """Descriptors, groups and uids of the one are free just when the other needs some."""
    daemon.delete(daemon.new()["id"])
    leaks = _LeakCheck(daemon)

    def some() -> None:
        for _ in range(15):
            assert daemon.delete(daemon.new()["id"]) == 204

    with concurrent.futures.ThreadPoolExecutor(5) as threads:
        for work in [threads.submit(some) for _ in range(5)]:
            work.result()
    leaks.balance()


def test_kills_at_random_moments_leave_nothing(tmp_path: Path) -> None:
    """Some before Chrome answers, some while it is driven, some of a process below."""
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, breaker_failures=1000, start_attempts=1) as daemon:
        _kill_at_random(daemon)


def _kill_at_random(daemon: Daemon) -> None:
    daemon.delete(daemon.new()["id"])
    leaks = _LeakCheck(daemon)
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
    leaks.balance()
