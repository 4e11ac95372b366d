"""Metrics: what is counted, that it never goes back, that labels are bounded and name nobody; and
that the dashboard and the alert rules ask for what there is."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import math
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chromepool import errors, wire
from chromepool.gateway.browser.browser import Crash, Traffic
from chromepool.gateway.bus import EventBus
from chromepool.gateway.histogram import Histogram
from chromepool.gateway.http import problems
from chromepool.gateway.monitor.health import HealthChecker
from chromepool.gateway.monitor.metric_table import (
    BY_NAME,
    FAMILIES,
    LABEL_TEXTS,
    LABELS,
    REFUSALS,
    MetricsPage,
)
from chromepool.gateway.monitor.metrics import Lag, Metrics, Slots
from chromepool.gateway.sessions.events import SessionGone, SessionReady, TabCrashed
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason, State, Usage
from chromepool.psi import read_stall_s
from chromepool.schema import routes
from chromepool.supervisor.linux.cgroup.v2 import V2Leaf
from testing import ROOT
from testing.cdp import connect, run
from testing.clock import settle
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.fakes import HOST, LIMITS, FakeBrowser, FakeSupervisor
from testing.fakes import FakePool as Pool
from tests.daemon.test_handover import kill_gateway, reload

GENERATOR = runpy.run_path(str(ROOT / "docs/generate_metrics.py"))
RULES: dict[str, Any] = yaml.safe_load((ROOT / "docs/monitoring/alerts.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "docs/monitoring/chromepool-dashboard.json").read_text()
)
TOKEN = "0123456789abcdef0123456789abcdef"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(page: bytes) -> Samples:
    """Every sample by its name and labels; each is there once."""
    found: Samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples["chromepool_" + name, frozenset(labels.items())]


def kinds(page: bytes) -> dict[str, str]:
    """Name → kind of every family on a page."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", page.decode(), re.MULTILINE))


# -- durations, slots, pressure --


def test_durations_are_cumulative_and_a_bound_is_within_itself() -> None:
    durations = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        durations.add(seconds)
    assert durations.cumulative() == [(0.1, 2), (1.0, 3), (float("inf"), 4)]
    assert durations.cumulative()[-1] == (math.inf, 4)
    assert durations.total_s == pytest.approx(7.65)


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


def test_pressure_is_read_where_there_is_some(tmp_path: Path) -> None:
    file = tmp_path / "memory.pressure"
    assert read_stall_s(file) is None
    file.write_text(
        "some avg10=0.00 avg60=1.50 avg300=0.00 total=2500000\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )
    assert read_stall_s(file) == 2.5
    file.write_text("some\n")
    assert read_stall_s(file) is None


def test_pressure_of_a_session_is_its_groups(tmp_path: Path) -> None:
    for number, resource in enumerate(("cpu", "memory", "io"), 1):
        line = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={number}000000\n"
        (tmp_path / f"{resource}.pressure").write_text(line)
    usage = V2Leaf(tmp_path).usage()
    assert (usage.cpu_stall_s, usage.memory_stall_s, usage.io_stall_s) == (1.0, 2.0, 3.0)


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
        health = HealthChecker(
            self.pool.runtime, lambda: self.pool.registry.chromes, self.pool.termination
        )
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


def assert_bounded(page: bytes, places: int) -> None:
    """Label sets are those declared: none grows with what sessions or callers do."""
    codes = {kind.code for kind in problems.STATUSES} | set(problems.HTTP_CODES.values())
    allowed: dict[str, set[str]] = {name: set(values) for name, values in LABELS.items()}
    allowed |= {"slot": {str(n) for n in range(places)}, "code": codes | {"internal", "http_error"}}
    for name, labels in read(page):
        family = BY_NAME[re.sub(r"(?<!_total)_(bucket|sum|count)$", "", name)]
        given = dict(labels)
        given.pop("le", None)
        assert set(given) == set(family.labels), name
        for label, value in given.items():
            assert value in allowed.get(label, {value}), (name, label, value)
    unbounded = {label for family in FAMILIES for label in family.labels} - set(allowed)
    assert unbounded == {"version", "cgroup"}


# -- a daemon --


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Daemon]:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, max_sessions=2, metrics_tcp=True) as running:
        yield running


def scrape(daemon: Daemon) -> Samples:
    answer = daemon.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.body)


async def talk(session: dict[str, Any], commands: int) -> None:
    async with connect(session["webSocketDebuggerUrl"]) as client:
        for _ in range(commands):
            await client.call("Browser.getVersion")


def counters(samples: Samples) -> Samples:
    """What must never go back: counters, and histograms' parts."""
    counted = {family.name for family in FAMILIES if family.kind == "counter"}
    ends = ("_bucket", "_count", "_sum")
    return {
        key: value for key, value in samples.items() if key[0] in counted or key[0].endswith(ends)
    }


@pytest.mark.chrome
def test_every_metric_moves_and_no_counter_goes_back(measured: Daemon) -> None:
    pages = [scrape(measured)]

    def look() -> Samples:
        pages.append(scrape(measured))
        return pages[-1]

    first, second = measured.new(labels={"secret": "label"}), measured.new()
    assert measured.ask("POST", "/v1/sessions", {}).json["code"] == "pool_full"
    page = look()
    assert at(page, "sessions", state="ready") == at(page, "sessions_occupied") == 2
    assert at(page, "sessions_max") == 2
    assert at(page, "sessions_created_total", start="cold") == 2
    assert at(page, "session_creation_seconds_count", start="cold") == 2
    assert at(page, "creations_refused_total", code="pool_full") == 1
    assert at(page, "problems_total", code="pool_full") == 1
    for slot in ("0", "1"):
        assert at(page, "session_memory_bytes", slot=slot) > 1 << 20
        assert at(page, "session_cpu_seconds_total", slot=slot) > 0
        assert at(page, "session_processes", slot=slot) > 1
        assert at(page, "session_open_files", slot=slot) > 10
    assert at(page, "pool_memory_bytes") > 1 << 20

    run(talk(first, 100))
    page = look()
    assert at(page, "cdp_messages_total", direction="in") >= 100
    assert at(page, "cdp_messages_total", direction="out") >= 100
    assert at(page, "cdp_bytes_total", direction="in") > 1000
    assert at(page, "cdp_bytes_total", direction="out") > 1000
    for direction in ("in", "out"):
        assert at(page, "cdp_delay_seconds_count", direction=direction) >= 5
        assert 0 < at(page, "cdp_delay_seconds_sum", direction=direction) < 5

    assert measured.get("/sessions/" + "0" * 32 + "/json/list").status == 404
    assert measured.delete(first["id"]) == 204
    page = look()
    assert at(page, "problems_total", code="session_not_found") == 1
    assert at(page, "sessions_ended_total", reason="deleted") == 1
    assert at(page, "cdp_messages_total", direction="in") >= 100
    measured.new()
    assert measured.delete(second["id"]) == 204
    wait_for(lambda: at(look(), "event_loop_lag_seconds_count") > 0, "lag was measured")
    for earlier, later in itertools.pairwise(pages):
        for key, value in counters(earlier).items():
            assert later[key] >= value, key


@pytest.mark.chrome
def test_a_page_names_no_session_owner_or_label(measured: Daemon) -> None:
    session = measured.new(labels={"customer": "acme-secret"})
    measured.get(f"/sessions/{session['id']}/no-such-route")
    body = measured.ask("GET", "/metrics").body
    assert_bounded(body, places=2)
    guid = session["webSocketDebuggerUrl"].rpartition("/")[2]
    for secret in (session["id"], guid, session["owner"], "acme-secret", "customer"):
        assert secret.encode() not in body
    assert not re.search(rb"[0-9a-f]{32}", body)


def test_over_tcp_it_is_offered_where_it_is_configured_behind_the_gatekeeper(
    measured: Daemon,
) -> None:
    answer = measured.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "chromepool_sessions_max" in kinds(answer.body) or read(answer.body)
    assert measured.get("/metrics", headers={"Host": "evil.example"}).status == 403
    assert measured.get("/metrics", headers={"Origin": "http://evil.example"}).status == 403
    assert measured.get("/metrics", "POST").status == 405
    assert measured.get("/v1/status").status == 404


def with_tokens(folder: Path, **settings: Any) -> Daemon:
    folder.chmod(0o755)
    tokens = folder / "tokens"
    tokens.write_text(f"ci {TOKEN}\n")
    tokens.chmod(0o600)
    return Daemon(folder, tokens_file=tokens, **settings)


def test_over_tcp_it_is_not_offered_unless_configured(tmp_path: Path) -> None:
    with with_tokens(tmp_path) as daemon:
        assert daemon.get("/metrics").status == 404
        assert daemon.ask("GET", "/metrics").status == 200


def test_with_the_control_api_alone_it_takes_a_token(tmp_path: Path) -> None:
    with with_tokens(tmp_path, control_tcp=True) as daemon:
        assert daemon.get("/metrics").status == 401
        header = {"Authorization": f"Bearer {TOKEN}"}
        assert daemon.get("/metrics", headers=header).status == 200


def test_with_both_it_takes_none(tmp_path: Path) -> None:
    with with_tokens(tmp_path, control_tcp=True, metrics_tcp=True) as daemon:
        assert daemon.get("/metrics").status == 200
        assert daemon.get("/v1/status").status == 401


def test_a_gateway_that_died_is_counted(misbehaving: Misbehaving) -> None:
    with misbehaving() as daemon:
        assert at(scrape(daemon), "gateway_restarts_total") == 0
        before = daemon.gateway
        before.kill()
        wait_for(lambda: daemon.gateway.pid != before.pid, "another gateway runs")
        wait_for(lambda: daemon.text.count("chromepool is ready") == 2, "it serves")
        assert at(scrape(daemon), "gateway_restarts_total") == 1


def test_slots_of_many_sessions_are_bounded(misbehaving: Misbehaving) -> None:
    with misbehaving(max_sessions=3) as daemon:
        for _ in range(4):
            ids = [daemon.new()["id"] for _ in range(3)]
            page = daemon.ask("GET", "/metrics").body
            assert_bounded(page, places=3)
            for session_id in ids:
                daemon.delete(session_id)
        page = daemon.ask("GET", "/metrics").body
        assert_bounded(page, places=3)
        assert at(read(page), "sessions_ended_total", reason="deleted") == 12


# -- the files beside it --


def test_the_reference_page_is_what_the_table_says() -> None:
    page: Callable[[], str] = GENERATOR["page"]
    written = (ROOT / "docs/reference/metrics.md").read_text()
    assert written == page(), "run: python docs/generate_metrics.py > docs/reference/metrics.md"


def test_the_table_is_in_order() -> None:
    assert len(BY_NAME) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"(chromepool|process)_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.text.endswith(".")
        assert set(family.labels) <= set(LABELS) | set(LABEL_TEXTS)
    assert set(LABELS["state"]) == set(State) - {State.CLOSED}
    assert set(REFUSALS) <= {kind.code for kind in problems.STATUSES}


def test_usage_on_the_wire_and_in_the_api_is_the_same() -> None:
    usage = Usage(cpu_stall_s=1.0, memory_stall_s=2.0, io_stall_s=3.0)
    message = wire.Inspected(1, usage, "")
    assert wire.decode(wire.encode(message)) == message
    assert "io_stall_s" in {field.name for field in dataclasses.fields(Usage)}


def queries() -> list[str]:
    """All there are, in PromQL alone: Grafana puts in a duration for its variable."""
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    shown = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
    return [query.replace("$__rate_interval", "1m") for query in rules + shown]


def variables() -> list[tuple[str, str]]:
    """Metric and label that each of the dashboard's variables takes its values from."""
    asked = [v["query"]["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    return [re.fullmatch(r"label_values\((\w+), *(\w+)\)", one).groups() for one in asked]  # type: ignore[union-attr,misc]


OF_PROMETHEUS = {"instance", "job", "le"}


@dataclasses.dataclass
class Asked:
    """What a query reads."""

    names: set[str] = dataclasses.field(default_factory=set)
    matched: list[tuple[str, promql_parser.Matcher]] = dataclasses.field(default_factory=list)
    """A metric, and what it is selected by."""
    grouped: set[str] = dataclasses.field(default_factory=set)
    """Labels of by, without, on, ignoring and group_left."""

    def visit(self, node: promql_parser.Expr) -> None:
        match node:
            case promql_parser.VectorSelector():
                assert node.name is not None
                self.names.add(node.name)
                self.matched += [(node.name, matcher) for matcher in node.matchers.matchers]
            case promql_parser.AggregateExpr() if node.modifier is not None:
                self.grouped |= {*node.modifier.labels}
            case promql_parser.BinaryExpr() if node.modifier is not None:
                matching = node.modifier.matching
                self.grouped |= {*(matching.labels if matching else ())}
                self.grouped |= {*(node.modifier.group_labels or ())}


def asked_by(query: str) -> Asked:
    """Fails where it is no PromQL."""
    asked = Asked()
    promql_parser.walk(promql_parser.parse(query), asked.visit)
    return asked


def test_what_a_query_asks_for_is_found() -> None:
    asked = asked_by(
        'sum by (le) (rate(a_total{code=~"b|c"}[5m])) > on (x) group_left (y) d_e{f="g"} and h < 3'
    )
    assert asked.names == {"a_total", "d_e", "h"}
    assert [(name, m.name, m.value) for name, m in asked.matched] == [
        ("a_total", "code", "b|c"),
        ("d_e", "f", "g"),
    ]
    assert asked.grouped == {"le", "x", "y"}
    with pytest.raises(ValueError, match="parenthesis"):
        asked_by("sum(rate(a_total[5m])")


@pytest.mark.chrome
def test_the_dashboards_and_the_rules_queries_find_something(measured: Daemon) -> None:
    session = measured.new()
    run(talk(session, 40))
    body = measured.ask("GET", "/metrics").body
    samples = read(body)
    there = {name for name, _ in samples}
    silent = set(kinds(body)) - there  # declared, but nothing on this machine can tell
    assert silent <= {"chromepool_session_stalled_seconds_total"} | {
        name for name, kind in kinds(body).items() if kind == "histogram"
    }
    asked = [asked_by(query) for query in queries()]
    names = {name for one in asked for name in one.names} | {name for name, _ in variables()}
    assert len(names) > 25
    assert names - {"up"} <= there | silent
    found = {(name, label, value) for name, labels in samples for label, value in labels}
    for one in asked:
        known = {label for name in one.names - {"up"} for label in BY_NAME[base(name)].labels}
        assert one.grouped <= known | OF_PROMETHEUS, one
        for name, matcher in one.matched:
            if matcher.name not in OF_PROMETHEUS:  # every value is on the page from the first on
                for value in matcher.value.split("|"):
                    assert (name, matcher.name, value) in found, one
    assert {label for _, label in variables()} <= OF_PROMETHEUS


def base(name: str) -> str:
    return re.sub(r"(?<!_total)_(bucket|sum|count)$", "", name)


@pytest.mark.chrome
def test_a_reload_is_no_death_and_a_kill_is_one(measured: Daemon) -> None:
    def gateways() -> tuple[float, float]:
        page = scrape(measured)
        return at(page, "gateway_restarts_total"), at(page, "gateway_deaths_total")

    assert gateways() == (0, 0)
    reload(measured)
    assert gateways() == (1, 0)
    kill_gateway(measured)
    assert gateways() == (2, 1)
    told = measured.ask("GET", "/v1/status").json["gateway"]
    assert (told["restarts"], told["deaths"]) == (2, 1)


def test_no_rule_takes_a_reload_for_a_fault_and_those_of_deaths_are_cleared() -> None:
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    assert not [rule for rule in rules if "gateway_restarts_total" in rule]
    of_deaths = [rule for rule in rules if "gateway_deaths_total" in rule]
    assert of_deaths
    for rule in of_deaths:  # a total that only grows would hold for ever
        assert re.match(r"increase\(chromepool_gateway_deaths_total\[\d+m\]\) >", rule)


def test_the_rules_are_whole() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    told = (ROOT / "docs/howto/monitoring.md").read_text()
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    assert sorted(re.findall(r"^\| `(Chromepool\w+)` \|", told, re.MULTILINE)) == sorted(names)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_the_dashboard_is_whole() -> None:
    panels = DASHBOARD["panels"]
    assert len(panels) >= 12
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert DASHBOARD["uid"]
    assert {v["name"] for v in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}
    for panel in panels:
        assert panel["title"]
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"]
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares), "panels lie upon each other"
