"""Creating sessions, without Chrome: the pool's own steps, on a made-up clock."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from typing import cast

import pytest

from chromepool.config import Settings
from chromepool.errors import (
    BrowserGone,
    CircuitOpen,
    NoMemory,
    ShuttingDown,
    StartFailed,
)
from chromepool.gateway.capacity import memory
from chromepool.gateway.cdp import framing
from chromepool.gateway.monitor.health import HealthChecker
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.spec import SessionSpec
from chromepool.gateway.store.responses import Response
from chromepool.gateway.supervisor import Spawned
from chromepool.model import Reason, State
from testing.clock import run, settle
from testing.fakes import FakeClient, fake_browser, without_freezer
from testing.fakes import FakePool as Pool

LIMITS = Settings().session_limits


def test_a_warm_one_is_frozen_thawed_and_given_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=2)
        pool.warm_pool.refill(0)
        await settle()
        assert pool.states() == [(POOL, State.FROZEN)]
        assert pool.admission.occupied == 0
        sessions = [await pool.creation.create(SessionSpec("a", LIMITS)) for _ in range(2)]
        assert [s.warm for s in sessions] == [True, False]
        assert pool.supervisor.asked == [("freeze", 1), ("thaw", 1)]
        assert pool.admission.occupied == 2

    run(main())


def test_health_ends_a_warm_one_that_hangs_and_another_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, host=without_freezer(), warm_sessions=1, max_sessions=2)
        health = HealthChecker(pool.parts)
        pool.warm_pool.refill(0)
        await settle()
        hung = pool.registry.chromes[0]
        hung.browser = fake_browser("Browser.getVersion", "Browser.close")
        await health.check_all()
        await settle()
        assert pool.states() == [(POOL, State.READY)], "one check may be missed"
        await health.check_all()
        await settle()
        assert (hung.owner, hung.reason) == (POOL, Reason.UNHEALTHY)
        async with asyncio.timeout(60):
            while len(pool.admission.warm) < 1:
                await asyncio.sleep(0.01)
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        assert session.warm
        assert session is not hung

    run(main())


def test_one_that_does_not_answer_becomes_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=2)
        pool.warm_pool.refill(0)
        await settle()
        hung = pool.registry.chromes[0]
        hung.browser = fake_browser("Browser.getVersion", "Browser.close")
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        await settle()
        assert not session.warm
        assert (hung.owner, hung.reason) == (POOL, Reason.UNHEALTHY)

    run(main())


def test_one_that_takes_no_options_is_replaced_by_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=1)
        pool.warm_pool.refill(0)
        await settle()
        deaf = fake_browser("Browser.setDownloadBehavior", "Browser.close")
        pool.registry.chromes[0].browser = deaf
        session = await pool.creation.create(SessionSpec("a", LIMITS, downloads="deny"))
        await settle()
        assert not session.warm
        assert pool.admission.occupied == 1

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
            session.browser = fake_browser("Browser.close")

        pool.start = start
        pool.warm_pool.refill(0)
        await settle()
        assert pool.states() == [(POOL, State.STARTING)]
        await pool.creation.create(SessionSpec("a", LIMITS))
        gate.set()
        await settle()
        assert pool.states() == [("a", State.READY)]

    run(main())


def test_memory_that_is_promised_is_not_promised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, max_sessions=10)
        pool.memory = pool.runtime.settings.session_need_bytes + (64 << 20)
        gate = asyncio.Event()

        async def start(session: Session) -> None:
            await gate.wait()
            await pool.succeed(session)

        pool.start = start
        orders = [pool.creation.create(SessionSpec("a", LIMITS)) for _ in range(5)]
        calls = [asyncio.create_task(spec) for spec in orders]
        await settle()
        assert len(pool.registry.chromes) == 2
        gate.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [Session] * 2 + [NoMemory] * 3

    run(main())


def test_memory_at_its_edge_and_one_byte_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch)
        pool.memory = pool.runtime.settings.session_need_bytes
        await pool.creation.create(SessionSpec("a", LIMITS))
        pool.memory -= 1
        with pytest.raises(NoMemory):
            await pool.creation.create(SessionSpec("a", LIMITS))
        pool.memory = None  # where nothing can tell, nothing is refused
        await pool.creation.create(SessionSpec("a", LIMITS))

    run(main())


def test_a_warm_one_makes_room_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1)
        pool.warm_pool.refill(0)
        await settle()
        waiting = pool.registry.chromes[0]
        waiting.browser = fake_browser("Browser.close")
        monkeypatch.setattr(memory, "left", lambda group: 1 << 40 if waiting.reason else 0)
        heap = dataclasses.replace(LIMITS, heap_bytes=20_000_000)
        session = await pool.creation.create(SessionSpec("a", heap))
        assert not session.warm
        assert waiting.reason is Reason.DRAINED

    run(main())


def test_one_warm_chrome_does_not_let_many_in_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=1, max_sessions=5)
        pool.warm_pool.refill(0)
        await settle()
        pool.memory = 0
        calls = [pool.creation.create(SessionSpec("a", LIMITS)) for _ in range(3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["NoMemory", "NoMemory", "Session"]
        assert pool.admission.occupied == 1

    run(main())


def test_none_is_started_once_the_daemon_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, warm_sessions=0, max_sessions=1)
        await pool.creation.create(SessionSpec("a", LIMITS))
        waiting = asyncio.create_task(pool.creation.create(SessionSpec("b", LIMITS), 30))
        await settle()
        pool.registry.chromes[0].browser = fake_browser("Browser.close")
        await pool.termination.end_all(10)
        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            await pool.creation.create(SessionSpec("c", LIMITS))
        assert pool.registry.chromes == []

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
            await pool.creation.create(SessionSpec("a", LIMITS))
        with pytest.raises(CircuitOpen) as refused:
            await pool.creation.create(SessionSpec("a", LIMITS))
        assert refused.value.retry_after_s == 30
        assert "does not start" in refused.value.detail
        assert "chromepool doctor" in refused.value.remedy
        pool.clock.now += 30
        calls = [pool.creation.create(SessionSpec("a", LIMITS)) for _ in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["CircuitOpen"] * 4 + ["StartFailed"]
        assert len(started) == 2
        pool.clock.now += 30
        pool.start = pool.succeed
        await pool.creation.create(SessionSpec("a", LIMITS))
        assert not pool.admission.breaker.is_open

    run(main())


def test_a_sweep_ends_what_is_overdue_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch)
        idle = await pool.creation.create(SessionSpec("a", LIMITS, idle_timeout_s=10))
        old = await pool.creation.create(SessionSpec("a", LIMITS, max_age_s=20))
        busy = await pool.creation.create(SessionSpec("a", LIMITS, idle_timeout_s=10))
        for session in (idle, old, busy):
            session.browser = fake_browser("Browser.close")
        assert pool.deadlines.next_due() == pool.clock.now + 10
        for seconds, ended in ((9.5, []), (0.5, [idle]), (9.5, [idle]), (0.5, [idle, old])):
            pool.clock.now += seconds
            busy.touch()
            pool.deadlines.sweep()
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
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        session.artifacts = Artifacts(pool.runtime.settings, pool.clock, session.auto_attacher)
        kept = session.artifacts.responses
        kept.add(cast(Response, "a response"), 100)
        for seconds, found in ((9.5, (100, 0)), (0.5, (0, 1))):
            pool.clock.now += seconds
            pool.deadlines.sweep()
            assert (kept.bytes, kept.dropped) == found

    run(main())


def test_the_ended_are_remembered_for_an_hour_and_a_hundred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch)
        for _ in range(105):
            session = await pool.creation.create(SessionSpec("a", LIMITS))
            session.browser = fake_browser("Browser.close")
            await pool.termination.end(session, Reason.DELETED, "")
        assert len(pool.registry.all()) == 100
        pool.clock.now += 3600
        pool.deadlines.sweep()
        assert len(pool.registry.all()) == 100
        pool.clock.now += 0.5
        pool.deadlines.sweep()
        assert pool.registry.all() == []

    run(main())


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
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        assert session.browser is not None
        session.browser.clients.append(client)  # type: ignore[arg-type]
        await pool.termination.end(session, reason, "")
        assert client.closed == [code]

    run(main())


def test_a_session_that_ends_for_what_chrome_sent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "LONGEST_BYTES", 1000)

    async def main() -> None:
        pool, client = Pool(monkeypatch), FakeClient()
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        takes, commands = os.pipe()
        events, says = os.pipe()
        spawned = Spawned(1, 1, "", commands, events)
        browser = pool.parts.connector.connect(session, spawned)
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
