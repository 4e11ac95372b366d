"""Alerts: raised once, cleared once, with a gap between the two; and what is read to decide."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from pathlib import Path
from typing import Any

import pytest

from chromepool import config
from chromepool.config import Settings
from chromepool.gateway.event_stream import Event
from chromepool.gateway.history.queries import AlertState
from chromepool.gateway.monitor.alert_loop import AlertLoop, disk
from chromepool.gateway.monitor.alerts import Alerts, Change, Recent, Rule, Snapshot, rules
from chromepool.gateway.monitor.canary_loop import CanaryLoop
from chromepool.gateway.sessions.events import SessionEnding
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason
from chromepool.schema.admin import AlertView
from testing.clock import run
from testing.fakes import LIMITS, fake_browser
from testing.fakes import FakePool as Pool

GB = 1_000_000_000
LONG_AGO = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
CALM = Snapshot(sessions=0, max_sessions=10, memory=0.1, disk_free=90 * GB, disk_size=100 * GB)


class Told:
    """What an engine says, look after look, in short."""

    def __init__(self, **settings: Any) -> None:
        self.alerts = Alerts(rules(Settings(**settings)))
        self.now = 0.0

    def step(self, after_s: float = 1.0, **changes: Any) -> list[str]:
        self.now += after_s
        found = self.alerts.step(dataclasses.replace(CALM, **changes), self.now)
        return [f"{'+' if c.lasted_s is None else '-'}{c.rule.name}" for c in found]


@pytest.fixture
def told() -> Told:
    return Told()


# -- the engine --


def test_a_calm_daemon_has_none(told: Told) -> None:
    assert told.step() == []
    assert told.alerts.texts == {}


def test_it_is_raised_once_and_cleared_once(told: Told) -> None:
    said = [told.step(sessions=number) for number in (8, 9, 10, 9, 8, 7, 8, 7, 6, 7, 8, 9)]
    nothing: list[str] = []
    assert said == [
        nothing,  # 80 % is not more than 80 %
        ["+sessions"],
        *[nothing] * 6,
        ["-sessions"],
        *[nothing] * 2,
        ["+sessions"],
    ]
    assert told.alerts.raised_total["sessions"] == 2


def test_a_value_that_trembles_at_the_threshold_says_it_once(told: Told) -> None:
    said = [told.step(sessions=8 + step % 2) for step in range(100)]
    assert [one for some in said for one in some] == ["+sessions"]


def test_the_text_follows_while_it_lasts(told: Told) -> None:
    told.step(sessions=9)
    assert told.alerts.texts == {"sessions": "9 of 10 sessions are in use."}
    told.step(sessions=10)
    assert told.alerts.texts == {"sessions": "10 of 10 sessions are in use."}
    told.step()
    assert told.alerts.texts == {}


def test_memory_has_to_be_short_for_a_while(told: Told) -> None:
    for after_s in (1.0, 4.0, 5.9):
        assert told.step(after_s, memory=0.81) == []
    assert told.step(0.1, memory=0.81) == ["+pool_memory"]
    assert told.step(memory=0.70) == []
    assert told.step(memory=0.69) == ["-pool_memory"]


def test_a_moment_of_relief_begins_the_while_anew(told: Told) -> None:
    told.step(memory=0.9)
    told.step(9.0, memory=0.8)
    assert told.step(1.0, memory=0.9) == []
    assert told.step(9.9, memory=0.9) == []
    assert told.step(0.1, memory=0.9) == ["+pool_memory"]


def test_what_nothing_can_tell_raises_nothing_and_clears_nothing(told: Told) -> None:
    assert told.step(memory=None, disk_free=None, disk_size=None) == []
    told.step(memory=0.9)
    told.step(memory=None)
    assert told.step(20, memory=0.9) == []  # nobody knows how it was meanwhile
    assert told.step(10, memory=0.9) == ["+pool_memory"]
    assert told.step(memory=None) == []
    assert "pool_memory" in told.alerts.texts


@pytest.mark.parametrize(
    ("free", "size", "change"),
    [
        (100 * GB, 1000 * GB, []),
        (100 * GB - 1, 1000 * GB, ["+disk_low"]),
        (GB // 2, GB, []),
        (GB // 2 - 1, GB, ["+disk_low"]),
        (0, 1000 * GB, ["+disk_low"]),
        (0, 0, []),  # a file system that does not say how large it is
    ],
)
def test_disk(told: Told, free: int, size: int, change: list[str]) -> None:
    assert told.step(disk_free=free, disk_size=size) == change


def test_disk_is_not_low_any_more_at_fifteen_percent(told: Told) -> None:
    told.step(disk_free=GB, disk_size=100 * GB)
    assert told.alerts.texts["disk_low"] == (
        "Only 1000 MB (1%) of the disk with the profiles is free."
    )
    assert told.step(disk_free=14_900_000_000, disk_size=100 * GB) == []
    assert told.step(disk_free=15_100_000_000, disk_size=100 * GB) == ["-disk_low"]
    told.step(disk_free=GB // 4, disk_size=GB)
    assert told.step(disk_free=740_000_000, disk_size=GB) == []
    assert told.step(disk_free=760_000_000, disk_size=GB) == ["-disk_low"]


def test_the_others(told: Told) -> None:
    assert told.step(unhealthy=1) == ["+unhealthy"]
    assert told.step(unhealthy=3) == []
    assert told.step() == ["-unhealthy"]
    assert told.step(crashed=4) == []
    assert told.step(crashed=5) == ["+crash_loop"]
    assert told.step(crashed=3) == []
    assert told.step(crashed=2) == ["-crash_loop"]
    assert told.step(canary="load: {no}") == ["+canary_failed"]
    assert told.alerts.texts == {"canary_failed": "The last canary failed: load: {no}"}
    assert told.step(canary=None) == []  # another gateway, and none has flown yet
    assert told.step() == ["-canary_failed"]
    assert told.step(breaker_open=True, failure="{no} library") == ["+breaker_open"]
    assert told.alerts.texts == {"breaker_open": "Chrome keeps failing to start: {no} library"}
    assert told.step() == ["-breaker_open"]


def test_several_at_once_do_not_mind_each_other(told: Told) -> None:
    assert told.step(sessions=10, unhealthy=1) == ["+sessions", "+unhealthy"]
    assert told.step(sessions=10) == ["-unhealthy"]


def test_thresholds_are_settings_that_can_change() -> None:
    """A change of settings starts another gateway, which takes over what is raised."""
    alerts = Alerts(rules(Settings(alert_sessions_percent=50, alert_crashes=1)))
    at = dataclasses.replace(CALM, sessions=6, crashed=1)
    assert {change.rule.name for change in alerts.step(at, 0)} == {"sessions", "crash_loop"}
    later = Alerts(rules(Settings(alert_sessions_percent=90)))
    for name, text in alerts.texts.items():
        later.resume(name, 0, text)
    alerts = later
    assert {change.rule.name for change in alerts.step(at, 1)} == {"sessions", "crash_loop"}
    names = [name for name in config.FIELDS if name.startswith(("alert_", "webhook_"))]
    assert all(config.FIELDS[name].metadata["live"] for name in names)


@pytest.mark.parametrize("percent", [20, 80, 100])
def test_every_rule_can_be_cleared(percent: float) -> None:
    for rule in rules(Settings(alert_sessions_percent=percent, alert_memory_percent=percent)):
        value = rule.reads(dataclasses.replace(CALM, memory=0.05))
        assert value is not None
        assert value < rule.clear_below
        assert rule.clear_below <= rule.raise_above + 1


def test_how_long_it_lasted() -> None:
    rule = Rule("r", lambda at: at.sessions, "{value}")
    alerts = Alerts([rule])
    assert alerts.step(Snapshot(sessions=2), 10) == [Change(rule, "2")]
    alerts.step(Snapshot(sessions=3), 12)
    assert alerts.step(Snapshot(), 15) == [Change(rule, "3", 5)]


def test_recent_forgets_and_is_bounded() -> None:
    recent = Recent(10)
    for now in (0.0, 5.0, 9.0):
        recent.add(now)
    assert [recent.count(now) for now in (9, 9.9, 10, 14.9, 15, 100)] == [3, 3, 2, 2, 1, 0]
    for _ in range(20_000):
        recent.add(100)
    assert recent.count(100) == 10_000


# -- the watch --


def test_disk_of_a_folder_and_of_one_that_is_not_there(tmp_path: Path) -> None:
    told = disk(str(tmp_path))
    assert told is not None
    assert 0 <= told[0] <= told[1]
    below = disk(str(tmp_path / "no" / "such"))
    assert below is not None
    assert below[1] == told[1]


class Watched(Pool):
    """A pool that is watched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        super().__init__(monkeypatch, **settings)
        self.sent: list[dict[str, Any]] = []
        self.remembered: list[AlertView] = []
        canaries = CanaryLoop(self.runtime, {})
        self.watch = AlertLoop(self.parts, canaries, self.sent.append, self._remember)
        self.runtime.bus.subscribe(SessionEnding, self.watch.on_ending)

    def _remember(self, rows: list[AlertView]) -> None:
        self.remembered = rows

    def told(self) -> list[tuple[str, str]]:
        return [(body["event"], body["alert"]["name"]) for body in self.sent]


def test_a_crash_loop_is_counted_from_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Watched(monkeypatch, alert_crashes=3, max_sessions=100)
        events = pool.runtime.events.listen(0)
        for reason in (Reason.CRASHED, Reason.OUT_OF_MEMORY, Reason.DELETED, Reason.CRASHED):
            pool.watch.step()
            assert pool.sent == []
            session = await pool.creation.create(SessionSpec("a", LIMITS))
            session.browser = fake_browser("Browser.close")
            await pool.termination.end(session, reason, "")
        pool.watch.step()
        pool.watch.step()
        assert pool.told() == [("alert.raised", "crash_loop")]
        assert list(pool.watch.raised) == ["crash_loop"]
        pool.clock.now += 300
        pool.watch.step()
        assert pool.told()[1:] == [("alert.cleared", "crash_loop")]
        assert pool.sent[0]["alert"]["since"] == pool.sent[1]["alert"]["since"]
        assert pool.watch.raised == {}
        assert pool.watch._alerts.raised_total["crash_loop"] == 1
        assert pool.watch._cleared_total["crash_loop"] == 1
        names: list[tuple[str, object]] = []
        while len(names) < pool.runtime.events.last:
            event = await events.next(1)
            assert event is not None
            names.append((event.name, event.fields.get("alert")))
        alerts = [one for one in names if one[0].startswith("alert")]
        assert alerts == [("alert.raised", "crash_loop"), ("alert.cleared", "crash_loop")]

    run(main())


def test_an_unhealthy_chrome_and_an_open_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Watched(monkeypatch, breaker_failures=1, start_attempts=1)
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        session.browser = fake_browser("Browser.close")
        await pool.termination.end(session, Reason.UNHEALTHY, "")
        pool.start = pool.fail
        with pytest.raises(Exception, match="does not start"):
            await pool.creation.create(SessionSpec("a", LIMITS))
        pool.watch.step()
        assert set(pool.watch.raised) == {"unhealthy", "breaker_open"}
        assert "does not start" in pool.watch.raised["breaker_open"].text

    run(main())


def test_a_look_that_fails_is_logged_and_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        pool = Watched(monkeypatch)
        looks: list[float] = []

        def snapshot(now: float) -> Snapshot:
            looks.append(now)
            raise RuntimeError("no")

        pool.watch.snapshot = snapshot  # type: ignore[method-assign]
        watching = asyncio.create_task(pool.watch.run())
        async with asyncio.timeout(60):
            while len(looks) < 3:
                await asyncio.sleep(0.5)
        watching.cancel()

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "watch.failed" in caplog.text


def test_what_an_earlier_gateway_raised_is_not_raised_again_and_is_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        first = Watched(monkeypatch, max_sessions=1)
        await first.creation.create(SessionSpec("a", LIMITS))
        first.watch.step()
        assert first.told() == [("alert.raised", "sessions")]
        raised = first.watch.raised["sessions"]
        assert [one.name for one in first.remembered] == ["sessions"]

        second = Watched(monkeypatch, max_sessions=1)
        session = await second.creation.create(SessionSpec("a", LIMITS))
        past = AlertState([*first.remembered, AlertView("bygone", "warning", LONG_AGO, "")], [])
        second.watch.resume(past, raised.since.timestamp() + 60)
        assert second.watch.raised == {"sessions": raised}, "before it has looked"
        second.watch.step()
        assert second.sent == []
        session.browser = fake_browser("Browser.close")
        await second.termination.end(session, Reason.DELETED, "")
        second.watch.step()
        second.watch.step()
        assert second.told() == [("alert.cleared", "sessions")]
        assert second.sent[0]["alert"]["since"] == raised.since
        assert second.remembered == []

    run(main())


def test_ends_that_an_earlier_gateway_saw_count_for_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(ago_s: float, reason: str) -> Event:
        at = datetime.datetime.fromtimestamp(1000 - ago_s, datetime.UTC)
        return Event(1, at, "session.closing", fields={"reason": reason})

    async def main() -> None:
        pool = Watched(monkeypatch, alert_crashes=2)
        ends = [end(301, "crashed"), end(200, "crashed"), end(1, "out_of_memory")]
        pool.watch.resume(AlertState([], [*ends, end(1, "deleted")]), 1000)
        now = pool.clock.now
        pool.watch.step()
        assert pool.told() == [("alert.raised", "crash_loop")]
        assert pool.watch.snapshot(now + 99).crashed == 2
        assert pool.watch.snapshot(now + 101).crashed == 1

    run(main())
