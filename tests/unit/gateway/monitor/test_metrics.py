"""Metrics: what is counted, that no counter goes back, that labels are bounded and name nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from chromepool import errors, wire
from chromepool.gateway.browser.browser import Crash, Traffic
from chromepool.gateway.monitor.health import HealthChecker
from chromepool.gateway.monitor.metric_table import (
    FAMILIES,
    MetricsPage,
)
from chromepool.gateway.monitor.metrics import Lag, Metrics, Slots
from chromepool.gateway.runtime import EventBus
from chromepool.gateway.sessions.events import SessionGone, SessionReady, TabCrashed
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason, Usage
from chromepool.schema import routes
from testing.cdp import run
from testing.clock import settle
from testing.fakes import HOST, LIMITS, FakeBrowser, FakeSupervisor
from testing.fakes import FakePool as Pool
from testing.metrics import Samples, assert_bounded, at, kinds, read

# -- slots: few labels for many sessions, and counters that never go back --


def test_the_lowest_free_slot_is_taken_and_none_beyond_the_bound() -> None:
    slots = Slots(2)
    for key in (11, 12, 13, 12):
        slots.assign(key)
    assert [(label, slot.key) for label, slot in slots] == [("0", 11), ("1", 12)]
    assert slots.get(13) is None
    slots.release(11, Usage())
    slots.release(13, Usage())
    slots.release(11, Usage())
    slots.assign(13)
    assert [(label, slot.key) for label, slot in slots] == [("0", 13), ("1", 12)]


def test_a_slot_counts_on_from_one_session_to_the_next() -> None:
    slots = Slots(1)
    told = []
    for key in (1, 2):
        slots.assign(key)
        slot = slots.get(key)
        assert slot is not None
        for cpu_s in (1.0, 3.0, 2.0):  # less than before: a process of it has ended
            slot.note(Usage(cpu_s=cpu_s))
            told.append(slot.counted("cpu_s"))
        slots.release(key, Usage(cpu_s=3.5))
        told.append(slot.counted("cpu_s"))
        slots.release(key, Usage(cpu_s=3.5))
    assert told == [1.0, 3.0, 3.0, 3.5, 4.5, 6.5, 6.5, 7.0]
    assert slot is not None
    assert slot.counted("io_stall_s") is None
    assert slot.usage == Usage()


# -- the collector, with a pool that it can see and no Chrome --


class Link(FakeSupervisor):
    """A supervisor that tells what it was given to tell."""

    def __init__(self, bus: EventBus) -> None:
        super().__init__(bus)
        self.usages: dict[int, Usage] = {}
        self.inspected = 0
        self.hangs = False

    async def inspect(self, key: int) -> Any:
        self.inspected += 1
        if self.hangs:
            await asyncio.Event().wait()
        return wire.Inspected(key, self.usages.get(key, Usage()), "")


class Scraped:
    """A pool and its metrics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.pool = Pool(monkeypatch, supervisor=Link, **settings)
        self.link: Link = self.pool.supervisor
        health = HealthChecker(self.pool.parts)
        welcome = wire.Welcome({}, HOST, {}, restarts=3, deaths=2)
        self.more: list[Callable[[MetricsPage], None]] = []
        self.metrics = Metrics(self.pool.parts, health, welcome, [self._write_more])
        bus = self.pool.runtime.bus
        bus.subscribe(SessionReady, self.metrics.on_ready)
        bus.subscribe(SessionGone, self.metrics.on_gone)
        bus.subscribe(TabCrashed, self.metrics.on_tab_crashed)

    def _write_more(self, page: MetricsPage) -> None:
        for write in self.more:
            write(page)

    async def create(self, **spec: Any) -> Session:
        return await self.pool.creation.create(SessionSpec("uid:1", LIMITS, **spec))

    def end(self, session: Session, **usage: Any) -> None:
        session.begin_end(Reason.DELETED, "it was deleted")
        self.pool.runtime.bus.publish(wire.Gone(session.key, Usage(**usage)))

    async def page(self) -> Samples:
        self.pool.clock.now += 1  # the supervisor is not asked again within a second
        return read(await self.metrics.scrape())


def scraped(
    monkeypatch: pytest.MonkeyPatch, test: Callable[[Scraped], Any], **settings: Any
) -> None:
    async def main() -> None:
        await test(Scraped(monkeypatch, **settings))

    run(main())


def test_sessions_by_state_reason_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        it.pool.warm_pool.refill(0)
        await settle()
        page = await it.page()
        assert at(page, "sessions", state="frozen") == 1
        assert at(page, "sessions_created_total", start="warm") == 0
        assert at(page, "warm_waiting") == at(page, "warm_wanted") == 1
        warm, cold = await it.create(), await it.create()
        assert (warm.warm, cold.warm) == (True, False)
        page = await it.page()
        assert at(page, "sessions", state="ready") == at(page, "sessions_occupied") == 2
        for start in ("warm", "cold"):
            assert at(page, "sessions_created_total", start=start) == 1
            assert at(page, "session_creation_seconds_count", start=start) == 1
        assert at(page, "warm_taken_total") == 1
        it.end(warm)
        page = await it.page()
        assert at(page, "sessions", state="ready") == 1
        assert at(page, "sessions_ended_total", reason="deleted") == 1
        assert at(page, "sessions_ended_total", reason="crashed") == 0

    scraped(monkeypatch, test, warm_sessions=1, max_sessions=2)


def test_refusals_and_failed_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        it.pool.start = it.pool.fail
        with pytest.raises(errors.StartFailed):
            await it.create()
        with pytest.raises(errors.CircuitOpen):
            await it.create()
        page = await it.page()
        assert at(page, "creations_refused_total", code="start_failed") == 1
        assert at(page, "creations_refused_total", code="circuit_open") == 1
        assert at(page, "breaker_open") == 1
        assert at(page, "breaker_pause_seconds") > 0
        assert at(page, "sessions_ended_total", reason="start_failed") == 1
        assert at(page, "sessions_occupied") == 0

    scraped(monkeypatch, test, breaker_failures=1, start_attempts=1)


def test_every_refusal_of_the_document_is_counted_from_0_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(it: Scraped) -> None:
        page = await it.page()
        refusals = routes.CREATE_SESSION.refusals
        assert errors.Draining in refusals
        for kind in refusals:
            assert at(page, "creations_refused_total", code=kind.code) == 0

    scraped(monkeypatch, test)


def test_the_queue_and_its_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        first = await it.create()
        spec = SessionSpec("uid:1", LIMITS)
        second = asyncio.create_task(it.pool.creation.create(spec, 30))
        await settle()
        page = await it.page()
        assert at(page, "queue_length") == 1
        assert at(page, "queue_wait_seconds_count") == 0
        it.end(first)
        await second
        page = await it.page()
        assert at(page, "queue_length") == 0
        assert at(page, "queue_wait_seconds_count") == 1
        assert at(page, "queue_wait_seconds_sum") == 1  # the clock went on with the scrape
        with pytest.raises(errors.PoolFull):
            await it.create()
        page = await it.page()
        assert at(page, "creations_refused_total", code="pool_full") == 1

    scraped(monkeypatch, test, max_sessions=1)


def test_traffic_is_not_lost_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        told = []
        for _ in range(3):
            session = await it.create()
            browser = cast(FakeBrowser, cast(object, session.browser))
            browser.traffic = Traffic(1, 20, 300, 4000)
            told.append(await it.page())
            it.end(session)
            told.append(await it.page())
        messages = [at(page, "cdp_messages_total", direction="in") for page in told]
        assert messages == [1, 1, 2, 2, 3, 3]
        assert at(told[-1], "cdp_messages_total", direction="out") == 60
        assert at(told[-1], "cdp_bytes_total", direction="in") == 900
        assert at(told[-1], "cdp_bytes_total", direction="out") == 12000

    scraped(monkeypatch, test)


def test_usage_of_each_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        first, second = await it.create(), await it.create()
        usage = Usage(5, 6, 1.5, 7, 8, 0, 0, cpu_stall_s=0.5, memory_stall_s=0.25, io_stall_s=0.0)
        it.link.usages = {first.key: usage, second.key: Usage(memory_bytes=9, cpu_s=2.0)}
        page = await it.page()
        assert at(page, "session_number", slot="0") == first.key
        assert at(page, "session_memory_bytes", slot="0") == 5
        assert at(page, "session_memory_bytes", slot="1") == 9
        assert at(page, "session_memory_limit_bytes", slot="1") == LIMITS.memory_bytes
        assert at(page, "session_processes", slot="0") == 7
        assert at(page, "session_open_files", slot="0") == 8
        assert at(page, "session_cpu_seconds_total", slot="0") == 1.5
        assert at(page, "session_stalled_seconds_total", slot="0", resource="cpu") == 0.5
        assert at(page, "session_stalled_seconds_total", slot="0", resource="memory") == 0.25
        names = {(name, labels) for name, labels in page if ("slot", "1") in labels}
        assert "chromepool_session_processes" not in {name for name, _ in names}
        assert at(page, "pool_memory_bytes") == 14  # no group: the sum of the sessions'
        it.end(first, cpu_s=1.75)
        page = await it.page()
        assert at(page, "session_cpu_seconds_total", slot="0") == 1.75
        assert ("chromepool_session_number", frozenset({("slot", "0")})) not in page
        third = await it.create()
        it.link.usages[third.key] = Usage(cpu_s=1.0)
        page = await it.page()
        assert at(page, "session_number", slot="0") == third.key
        assert at(page, "session_cpu_seconds_total", slot="0") == 2.75

    scraped(monkeypatch, test)


def test_the_supervisor_is_asked_once_a_second_and_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(it: Scraped) -> None:
        session = await it.create()
        asked = it.link.inspected
        it.pool.clock.now += 1
        await asyncio.gather(*(it.metrics.scrape() for _ in range(5)))
        assert it.link.inspected == asked + 1
        it.link.hangs = True
        page = await it.page()
        assert at(page, "session_number", slot="0") == session.key

    monkeypatch.setattr("chromepool.gateway.monitor.metrics._ANSWERS_S", 0.05)
    scraped(monkeypatch, test)


def test_every_sample_has_the_declared_labels_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        for _ in range(30):
            sessions = [await it.create() for _ in range(4)]
            await it.page()
            for session in sessions:
                it.end(session)
        page = await it.metrics.scrape()
        assert_bounded(page, places=4)
        assert kinds(page) == {family.name: family.kind for family in FAMILIES}

    scraped(monkeypatch, test, max_sessions=4)


def test_other_parts_add_samples_but_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        it.more.append(lambda page: page.put("queue_max", None))
        await it.page()
        with pytest.raises(KeyError):
            MetricsPage().put("nonsense", 1)
        with pytest.raises(ValueError, match="shorter"):
            MetricsPage().put("sessions", 1)

    scraped(monkeypatch, test)


def test_a_tab_that_crashed_and_a_gateway_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(it: Scraped) -> None:
        session = await it.create()
        crash = Crash("target", "oom", Reason.OUT_OF_MEMORY)
        it.pool.runtime.bus.publish(TabCrashed(session, crash))
        it.metrics.count_problem("unauthorized")
        page = await it.page()
        assert at(page, "tab_crashes_total", reason="out_of_memory") == 1
        assert at(page, "problems_total", code="unauthorized") == 1
        assert at(page, "gateway_restarts_total") == 3
        assert at(page, "gateway_deaths_total") == 2

    scraped(monkeypatch, test)


def test_lag_is_measured() -> None:
    async def main() -> None:
        lag = Lag()
        task = asyncio.create_task(lag.watch())
        async with asyncio.timeout(60):
            while not lag.durations.cumulative()[-1][1]:
                await asyncio.sleep(0.01)
        task.cancel()
        assert 0 <= lag.durations.total_s < 5

    run(main())
