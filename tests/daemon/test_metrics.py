"""The metrics of a real daemon, and that the dashboard and the alert rules find them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromepool.gateway.monitor.metric_table import (
    BY_NAME,
    FAMILIES,
)
from testing.cdp import connect, run
from testing.daemon import Daemon, Misbehaving, wait_for
from testing.handover import kill_gateway, reload
from testing.metrics import Samples, assert_bounded, at, base, kinds, read
from testing.promql import asked_by, queries, variables

TOKEN = "0123456789abcdef0123456789abcdef"


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


OF_PROMETHEUS = {"instance", "job", "le"}


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
