"""Creating sessions, without Chrome: the pool's own steps, on a made-up clock."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import structlog
from chromepool.gateway.sessions.manager import Manager

from chromepool.config import Settings
from chromepool.errors import (
    BrowserGone,
    CircuitOpen,
    NoAnswer,
    NoMemory,
    ShuttingDown,
    StartFailed,
)
from chromepool.gateway.browser.browser import Traffic
from chromepool.gateway.capacity import memory
from chromepool.gateway.cdp import framing
from chromepool.gateway.monitor.health import Health
from chromepool.gateway.sessions import warm_pool as warm
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.deadlines import Sweeper
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.store.responses import Response
from chromepool.model import Host, Limits, Reason, State, Usage
from tests.unit.gateway.capacity.test_admission import Clock, run, settle

LIMITS = Settings().session_limits
HOST = Host(True, "v2", (), private_mounts=True, sandbox=True, chrome="/c", freezer=True)


class FakeBrowser:
    """Answers everything, except what it was told to."""

    def __init__(self, *fails: str) -> None:
        self._fails = fails
        self.clients: list[Any] = []
        self.crashes: list[Any] = []
        self.version: dict[str, Any] = {}
        self.traffic = Traffic()
        self.asked_to_close = self.paused = False
        self.base = ""
        self.log = structlog.stdlib.get_logger("test")

    async def call(self, method: str, *_: Any, **__: Any) -> dict[str, Any]:
        if method in self._fails:
            raise NoAnswer(f"Chrome did not answer {method}.")
        return {}

    def let_go(self) -> None:
        pass


class FakeLink:
    """Ends sessions at once, and writes down what it was asked."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.asked: list[tuple[str, int]] = []

    def stop(self, key: int, _: float) -> None:
        self._manager.gone(key, Usage())

    def freeze(self, key: int) -> None:
        self.asked.append(("freeze", key))

    def thaw(self, key: int, _: Limits) -> None:
        self.asked.append(("thaw", key))

    def remember(self, key: int, record: int) -> None:
        os.close(record)

    async def inspect(self, _: int) -> Any:
        raise BrowserGone("")


class Pool:
    """A creator whose Chromes start by ``start``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.clock = Clock(100.0)
        given = {"creations_per_minute": 0, "warm_sessions": 0, "close_timeout_s": 0} | settings
        self.manager = Manager(Settings(**given), HOST, self.clock)
        self.link = FakeLink(self.manager)
        self.manager.link = self.link  # type: ignore[assignment]
        self.creator = Creator(self.manager)
        self.sweeper = Sweeper(self.manager, self.creator)
        self.start: Callable[[Session], Awaitable[None]] = self.succeed
        monkeypatch.setattr(self.creator, "_start", self._start)
        monkeypatch.setattr(memory, "left", lambda group: self.memory)
        monkeypatch.setattr(warm, "REFILL_S", 0)
        monkeypatch.setattr(warm, "SETTLE_S", 0)
        self.memory: int | None = None

    async def _start(self, session: Session) -> None:
        await self.start(session)

    async def succeed(self, session: Session) -> None:
        session.browser = FakeBrowser()  # type: ignore[assignment]
        session.pid = 1
        session.move(State.READY)

    async def fail(self, session: Session) -> None:
        raise StartFailed("the fake does not start")

    def states(self) -> list[tuple[str, State]]:
        return [(session.owner, session.state) for session in self.manager.chromes]


def test_a_warm_one_is_frozen_thawed_and_given_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=2)
        pool.creator.warm.refill(0)
        await settle()
        assert pool.states() == [(POOL, State.FROZEN)]
        assert pool.creator.occupied == 0
        sessions = [await pool.creator.create(SessionSpec("a", LIMITS)) for _ in range(2)]
        assert [s.warm for s in sessions] == [True, False]
        assert pool.link.asked == [("freeze", 1), ("thaw", 1)]
        assert pool.creator.occupied == 2

    run(main())


def test_health_ends_a_warm_one_that_hangs_and_another_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=2)
        pool.manager.host = dataclasses.replace(HOST, freezer=False)
        health = Health(pool.manager)
        pool.creator.warm.refill(0)
        await settle()
        hung = pool.manager.chromes[0]
        hung.browser = FakeBrowser("Browser.getVersion", "Browser.close")  # type: ignore[assignment]
        await health.check_all()
        await settle()
        assert pool.states() == [(POOL, State.READY)], "one check may be missed"
        await health.check_all()
        await settle()
        assert (hung.owner, hung.reason) == (POOL, Reason.UNHEALTHY)
        async with asyncio.timeout(60):
            while pool.creator.warm.waiting < 1:
                await asyncio.sleep(0.01)
        session = await pool.creator.create(SessionSpec("a", LIMITS))
        assert session.warm
        assert session is not hung

    run(main())


def test_one_that_does_not_answer_becomes_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=2)
        pool.creator.warm.refill(0)
        await settle()
        hung = pool.manager.chromes[0]
        hung.browser = FakeBrowser("Browser.getVersion", "Browser.close")  # type: ignore[assignment]
        session = await pool.creator.create(SessionSpec("a", LIMITS))
        await settle()
        assert not session.warm
        assert (hung.owner, hung.reason) == (POOL, Reason.UNHEALTHY)

    run(main())


def test_one_that_takes_no_options_is_replaced_by_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=1)
        pool.creator.warm.refill(0)
        await settle()
        deaf = FakeBrowser("Browser.setDownloadBehavior", "Browser.close")
        pool.manager.chromes[0].browser = deaf  # type: ignore[assignment]
        session = await pool.creator.create(SessionSpec("a", LIMITS, downloads="deny"))
        await settle()
        assert not session.warm
        assert pool.creator.occupied == 1

    run(main())


def test_a_chrome_started_ahead_meanwhile_does_not_go_past_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=1)
        gate = asyncio.Event()

        async def start(session: Session) -> None:
            if session.owner == POOL:
                await gate.wait()
            await pool.succeed(session)
            session.browser = FakeBrowser("Browser.close")  # type: ignore[assignment]

        pool.start = start
        pool.creator.warm.refill(0)
        await settle()
        assert pool.states() == [(POOL, State.STARTING)]
        await pool.creator.create(SessionSpec("a", LIMITS))
        gate.set()
        await settle()
        assert pool.states() == [("a", State.READY)]

    run(main())


def test_memory_that_is_promised_is_not_promised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, max_sessions=10)
        pool.memory = pool.manager.settings.session_need_bytes + (64 << 20)
        gate = asyncio.Event()

        async def start(session: Session) -> None:
            await gate.wait()
            await pool.succeed(session)

        pool.start = start
        orders = [pool.creator.create(SessionSpec("a", LIMITS)) for _ in range(5)]
        calls = [asyncio.create_task(spec) for spec in orders]
        await settle()
        assert len(pool.manager.chromes) == 2
        gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Session] * 2 + [NoMemory] * 3

    run(main())


def test_memory_at_its_edge_and_one_byte_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch)
        pool.memory = pool.manager.settings.session_need_bytes
        await pool.creator.create(SessionSpec("a", LIMITS))
        pool.memory -= 1
        with pytest.raises(NoMemory):
            await pool.creator.create(SessionSpec("a", LIMITS))
        pool.memory = None  # where nothing can tell, nothing is refused
        await pool.creator.create(SessionSpec("a", LIMITS))

    run(main())


def test_a_warm_one_makes_room_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1)
        pool.creator.warm.refill(0)
        await settle()
        waiting = pool.manager.chromes[0]
        waiting.browser = FakeBrowser("Browser.close")  # type: ignore[assignment]
        monkeypatch.setattr(memory, "left", lambda group: 1 << 40 if waiting.reason else 0)
        heap = dataclasses.replace(LIMITS, heap_bytes=20_000_000)
        session = await pool.creator.create(SessionSpec("a", heap))
        assert not session.warm
        assert waiting.reason is Reason.DRAINED

    run(main())


def test_one_warm_chrome_does_not_let_many_in_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=5)
        pool.creator.warm.refill(0)
        await settle()
        pool.memory = 0
        calls = [pool.creator.create(SessionSpec("a", LIMITS)) for _ in range(3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["NoMemory", "NoMemory", "Session"]
        assert pool.creator.occupied == 1

    run(main())


def test_none_is_started_once_the_daemon_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=0, max_sessions=1)
        await pool.creator.create(SessionSpec("a", LIMITS))
        waiting = asyncio.create_task(pool.creator.create(SessionSpec("b", LIMITS), 30))
        await settle()
        pool.manager.chromes[0].browser = FakeBrowser("Browser.close")  # type: ignore[assignment]
        await pool.manager.end_all(10)
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await pool.creator.create(SessionSpec("c", LIMITS))
        assert pool.manager.chromes == []

    run(main())


def test_half_open_one_of_many_that_waited_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, breaker_failures=1, breaker_pause_s=30, start_attempts=1)
        started: list[Session] = []

        async def fail(session: Session) -> None:
            started.append(session)
            await pool.fail(session)

        pool.start = fail
        with pytest.raises(StartFailed):
            await pool.creator.create(SessionSpec("a", LIMITS))
        with pytest.raises(CircuitOpen) as refused:
            await pool.creator.create(SessionSpec("a", LIMITS))
        assert refused.value.retry_after_s == 30
        assert "does not start" in refused.value.detail
        assert "chromepool doctor" in refused.value.remedy
        pool.clock.now += 30
        calls = [pool.creator.create(SessionSpec("a", LIMITS)) for _ in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["CircuitOpen"] * 4 + ["StartFailed"]
        assert len(started) == 2
        pool.clock.now += 30
        pool.start = pool.succeed
        await pool.creator.create(SessionSpec("a", LIMITS))
        assert not pool.creator.breaker.is_open

    run(main())


def test_a_sweep_ends_what_is_overdue_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch)
        idle = await pool.creator.create(SessionSpec("a", LIMITS, idle_timeout_s=10))
        old = await pool.creator.create(SessionSpec("a", LIMITS, max_age_s=20))
        busy = await pool.creator.create(SessionSpec("a", LIMITS, idle_timeout_s=10))
        for session in (idle, old, busy):
            session.browser = FakeBrowser("Browser.close")  # type: ignore[assignment]
        assert pool.sweeper.next_due() == pool.clock.now + 10
        for seconds, ended in ((9.5, []), (0.5, [idle]), (9.5, [idle]), (0.5, [idle, old])):
            pool.clock.now += seconds
            busy.touch()
            pool.sweeper.sweep()
            await settle()
            assert [s for s in (idle, old, busy) if s.state is State.CLOSED] == ended
        assert [s.reason for s in (idle, old, busy)] == [
            Reason.IDLE_TIMEOUT,
            Reason.MAX_AGE,
            None,
        ]

    run(main())


def test_a_sweep_lets_go_of_what_was_kept_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing new arrives and nobody asks: both would let go of it too."""

    async def main() -> None:
        pool = Pool(monkeypatch, response_store_ttl_s=10)
        session = await pool.creator.create(SessionSpec("a", LIMITS))
        session.artifacts = Artifacts(pool.manager.settings, pool.clock, session.auto_attacher)
        kept = session.artifacts.responses
        kept.add(cast(Response, "a response"), 100)
        for seconds, found in ((9.5, (100, 0)), (0.5, (0, 1))):
            pool.clock.now += seconds
            pool.sweeper.sweep()
            assert (kept.bytes, kept.dropped) == found

    run(main())


def test_the_ended_are_remembered_for_an_hour_and_a_hundred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch)
        for _ in range(105):
            session = await pool.creator.create(SessionSpec("a", LIMITS))
            session.browser = FakeBrowser("Browser.close")  # type: ignore[assignment]
            await pool.manager.end(session, Reason.DELETED, "")
        assert len(pool.manager.all()) == 100
        pool.clock.now += 3600
        pool.sweeper.sweep()
        assert len(pool.manager.all()) == 100
        pool.clock.now += 0.5
        pool.sweeper.sweep()
        assert pool.manager.all() == []

    run(main())


class FakeClient:
    """Remembers how it was closed."""

    def __init__(self) -> None:
        self.closed: list[int] = []

    def end(self, code: int, _: str) -> None:
        self.closed.append(code)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.DELETED, 1001),
        (Reason.IDLE_TIMEOUT, 1001),
        (Reason.DRAINED, 1001),
        (Reason.SHUTDOWN, 1001),
        (Reason.UNHEALTHY, 1011),
        (Reason.CRASHED, 1011),
    ],
)
def test_clients_are_told_whether_it_was_a_fault(
    monkeypatch: pytest.MonkeyPatch, reason: Reason, code: int
) -> None:
    async def main() -> None:
        pool, client = Pool(monkeypatch), FakeClient()
        session = await pool.creator.create(SessionSpec("a", LIMITS))
        assert session.browser is not None
        session.browser.clients.append(client)  # type: ignore[arg-type]
        await pool.manager.end(session, reason, "")
        assert client.closed == [code]

    run(main())


def test_a_session_that_ends_for_what_chrome_sent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "LONGEST_BYTES", 1000)

    async def main() -> None:
        pool, client = Pool(monkeypatch), FakeClient()
        session = await pool.creator.create(SessionSpec("a", LIMITS))
        takes, commands = os.pipe()
        events, says = os.pipe()
        browser = pool.manager.watch(session, commands, events)
        browser.clients.append(client)  # type: ignore[arg-type]
        os.write(says, b"x" * 1001)
        async with asyncio.timeout(20):
            await session.is_gone.wait()
        assert session.reason is Reason.UNHEALTHY
        assert "over 1000 bytes" in session.detail
        assert client.closed == [1011]
        with pytest.raises(BrowserGone, match="over 1000 bytes"):
            await browser.call("Browser.getVersion")
        os.close(takes)
        os.close(says)

    asyncio.run(main())  # the made-up clock does not wait for pipes
