"""Limits that follow the load: simulated over series of loads, and wired into the pool.

``tests/loads`` holds the series, one row for each two seconds: ``ten_chromes`` was recorded (ten
Chromes come, wait, and go), the others are made up.
"""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import itertools
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool.config import Settings
from chromepool.errors import PoolFull
from chromepool.gateway.capacity import memory, pressure
from chromepool.gateway.capacity.autoscale import (
    FALL,
    LONGEST_RISE_S,
    RISE_S,
    Autoscale,
    Bounds,
    Limit,
    Load,
    by_memory,
    fitting,
    follow,
    percentile,
    warm_size,
)
from chromepool.gateway.monitor.alert_loop import EVERY_S, AlertLoop
from chromepool.gateway.monitor.canary_loop import CanaryLoop
from chromepool.gateway.sessions.session import POOL
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Reason
from testing import ROOT
from testing.clock import run, settle
from testing.fakes import LIMITS, fake_browser
from testing.fakes import FakePool as Pool

MIB = 1 << 20
LOADS = ROOT / "tests/loads"
NAMES = sorted(path.stem for path in LOADS.glob("*.csv"))
BOUNDS = Bounds(floor=2, most=12, need_bytes=128 * MIB)


def series(name: str) -> list[Load]:
    with (LOADS / f"{name}.csv").open(newline="") as file:
        return [
            Load(
                sessions=int(row["sessions"]),
                left_bytes=int(row["left_mib"]) * MIB,
                uses=tuple(int(mib) * MIB for mib in row["uses_mib"].split()),
                memory_pressure=float(row["memory_pressure"]),
                cpu_pressure=float(row["cpu_pressure"]),
            )
            for row in csv.DictReader(file)
        ]


def simulate(loads: Iterable[Load], bounds: Bounds = BOUNDS, start: int = 0) -> list[int]:
    """The limit after each look."""
    limit, found = Limit(start or bounds.most), []
    for step, load in enumerate(loads):
        limit = follow(limit, load, bounds, step * EVERY_S)
        found.append(limit.admitted)
    return found


def changes(limits: list[int]) -> int:
    return sum(one != other for one, other in itertools.pairwise(limits))


# -- over series of loads --


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_within_its_bounds_and_rises_slowly(name: str) -> None:
    limits = simulate(series(name))
    assert all(BOUNDS.floor <= limit <= BOUNDS.most for limit in limits)
    rises = [i for i, (a, b) in enumerate(itertools.pairwise(limits)) if b > a]
    assert all(limits[i + 1] - limits[i] == 1 for i in rises)
    assert all((b - a) * EVERY_S >= RISE_S for a, b in itertools.pairwise(rises))


def test_a_memory_ramp_brings_it_down_step_by_step() -> None:
    limits = simulate(series("memory_ramp"))
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == 12
    assert limits[-1] == 5  # six run, and there is no room for any of them to be replaced


def test_it_falls_at_the_very_look_that_shows_too_much() -> None:
    calm = Load(4, 4000 * MIB, (100 * MIB,) * 4)
    assert simulate([calm, dataclasses.replace(calm, left_bytes=100 * MIB)]) == [12, 4]
    assert simulate([calm, dataclasses.replace(calm, memory_pressure=0.2)]) == [12, 3]
    assert simulate([calm, dataclasses.replace(calm, cpu_pressure=0.9)]) == [12, 4]


def test_flapping_pressure_does_not_make_it_flap() -> None:
    limits = simulate(series("flapping_pressure"))
    assert changes(limits) <= 8
    assert set(limits[200:]) == {limits[-1]}


@pytest.mark.parametrize("name", ["noisy_cpu", "trembling_memory"])
def test_what_trembles_at_the_edge_settles(name: str) -> None:
    limits = simulate(series(name))
    assert changes(limits) <= 4
    assert changes(limits[200:]) == 0


def test_after_a_sudden_relief_it_rises_one_by_one_to_the_top() -> None:
    limits = simulate(series("sudden_relief"))
    assert limits[29] == 3
    first = 30 + int(RISE_S / EVERY_S)
    assert limits[first - 2] == 3
    assert limits[first] == 4
    assert limits[-1] == 12
    assert changes(limits) == 9
    reached = limits.index(12, 30)
    assert (reached - 30) * EVERY_S <= 9 * (RISE_S + EVERY_S)


def test_ten_real_chromes_get_in_and_nothing_trembles() -> None:
    limits = simulate(series("ten_chromes"))
    assert limits[0] == 8  # 1 GiB, and nobody knows yet what the sessions will use
    assert changes(limits) <= 6
    assert simulate(series("ten_chromes"), Bounds(1, 12, 64 * MIB)) == [12] * len(limits)


class Crowd:
    """Sessions that come whenever they are let in, and what they do to a pool's memory."""

    def __init__(self, each_mib: int, pool_mib: int = 2048, jitter: float = 0.0) -> None:
        self.each, self.pool, self.jitter = each_mib * MIB, pool_mib * MIB, jitter
        self.sessions = 0
        self.random = random.Random(1)

    def look(self) -> Load:
        sway = [1 + self.random.uniform(-1, 1) * self.jitter for _ in range(self.sessions)]
        uses = tuple(int(self.each * factor) for factor in sway)
        left = self.pool - sum(uses)
        return Load(self.sessions, left, uses, 0.5 if left < 0.05 * self.pool else 0.0)


@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("each_mib", [60, 130, 200, 400])
def test_with_everybody_who_is_let_in_it_converges(each_mib: int, jitter: float) -> None:
    crowd, bounds = Crowd(each_mib, jitter=jitter), Bounds(1, 30, 128 * MIB)
    limit, limits = Limit(bounds.most), []
    for step in range(1000):
        load = crowd.look()
        limit = follow(limit, load, bounds, step * EVERY_S)
        limits.append(limit.admitted)
        if crowd.sessions > limit.admitted:
            crowd.sessions -= 1  # one ends, now and then
        elif crowd.sessions < limit.admitted:
            crowd.sessions += 1
    assert changes(limits[500:]) <= 6
    assert crowd.sessions * crowd.each < crowd.pool
    assert limits[-1] >= min(30, 2048 // max(128, each_mib) - 3)


_LOADS = st.builds(
    Load,
    sessions=st.integers(0, 30),
    left_bytes=st.none() | st.integers(-1 << 30, 1 << 40),
    uses=st.lists(st.integers(0, 1 << 32), max_size=30).map(tuple),
    memory_pressure=st.floats(0, 1),
    cpu_pressure=st.floats(0, 1),
)


@given(
    st.lists(_LOADS, max_size=30), st.integers(1, 20), st.integers(1, 20), st.integers(0, 1 << 40)
)
def test_whatever_happens_it_stays_within_its_bounds(
    loads: list[Load], floor: int, most: int, need: int
) -> None:
    for limit in simulate(loads, Bounds(floor, most, need)):
        assert min(floor, most) <= limit <= most


# -- its parts --


def test_memory_for_more() -> None:
    bounds = Bounds(1, 100, 128 * MIB)
    assert by_memory(Load(0, 1024 * MIB), bounds, 1) == 8
    assert by_memory(Load(3, 1024 * MIB), bounds, 1) == 11  # no group tells what they use
    assert by_memory(Load(2, 1024 * MIB, (256 * MIB,) * 2), bounds, 1) == 2 + 4
    assert by_memory(Load(2, 1024 * MIB, (64 * MIB,) * 2), bounds, 1) == 2 + 8
    assert by_memory(Load(2, -1, (64 * MIB,) * 2), bounds, 1) == 1
    assert by_memory(Load(2, None), bounds, 1) == 100
    # one large one among small ones: room is kept for one more to grow like it
    mixed = (64 * MIB,) * 9 + (512 * MIB,)
    assert by_memory(Load(10, 1024 * MIB, mixed), bounds, 1) == 10 + 4


def test_percentile() -> None:
    assert percentile((), 0.95) == 0
    assert percentile((7,), 0.95) == 7
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile((3, 1, 2), 0.5) == 2


def test_it_says_why() -> None:
    assert fitting(Load(1, 1 << 40), BOUNDS, FALL) == (12, "")
    assert fitting(Load(4, 0), BOUNDS, FALL) == (4, "0 MiB of memory are left")
    assert "memory is short (30%" in fitting(Load(9, 1 << 40, (), 0.3), BOUNDS, FALL)[1]
    assert "the CPUs are busy (90%" in fitting(Load(9, 1 << 40, (), 0, 0.9), BOUNDS, FALL)[1]


def test_a_break_in_the_room_begins_the_wait_anew() -> None:
    roomy = Load(3, 4000 * MIB)
    tight = dataclasses.replace(roomy, cpu_pressure=0.7)  # no reason to fall, none to rise
    limit = Limit(3)
    for now, load, admitted in (
        (0.0, roomy, 3),
        (9.0, roomy, 3),
        (9.5, tight, 3),
        (10.0, roomy, 3),
        (19.0, roomy, 3),
        (19.5, roomy, 4),
        (20.0, roomy, 4),
    ):
        limit = follow(limit, load, BOUNDS, now)
        assert limit.admitted == admitted, now
    assert "CPUs" in follow(limit, tight, BOUNDS, 21.0).why


def test_a_rise_that_was_too_soon_makes_the_next_one_later() -> None:
    roomy, tight = Load(3, 4000 * MIB), Load(3, 4000 * MIB, (), 0.5)
    limit, now, pauses = Limit(3), 0.0, []
    for _ in range(8):
        before, began = limit.admitted, now
        while limit.admitted == before:
            limit, now = follow(limit, roomy, BOUNDS, now), now + 1
        pauses.append(now - began)
        limit, now = follow(limit, tight, BOUNDS, now), now + 1
    assert pauses[0] < pauses[2] < pauses[4]
    assert max(pauses) <= LONGEST_RISE_S + 2
    while limit.admitted < 12:  # each rise that stands takes some of it back
        limit, now = follow(limit, roomy, BOUNDS, now), now + 1
    assert limit.pause_s == RISE_S


# -- Chromes ahead --


def creations() -> list[float]:
    return [float(line) for line in (LOADS / "creations.txt").read_text().split()]


def sizes(start_s: float, *, least: int = 1, most: int = 8) -> dict[int, int]:
    """Second → Chromes wanted ahead, over the recorded requests."""
    times = creations()
    seconds = range(0, 1500, 2)
    past = {now: [at for at in times if at <= now] for now in seconds}
    return {n: warm_size(past[n], start_s, n, least=least, most=most) for n in seconds}


def test_a_burst_of_creations_fills_the_reserve_and_its_end_empties_it() -> None:
    found = sizes(1.0)
    assert found[298] == 1  # a trickle needs one
    assert found[304] == 8  # twelve within two seconds: as many as may be
    assert found[900] == 8  # it may come again
    assert found[904] == 1
    assert changes(list(found.values())) <= 5
    assert max(sizes(1.0, most=3).values()) == 3


def test_nobody_wants_any_and_none_are_kept() -> None:
    assert warm_size([], 1.0, 0.0, least=0, most=5) == 0
    assert warm_size([0.0], 1.0, 600.0, least=0, most=5) == 1
    assert warm_size([0.0], 1.0, 600.1, least=0, most=5) == 0
    assert warm_size([0.0] * 9, 1.0, 0.0, least=1, most=0) == 0


def test_the_slower_a_start_the_more_are_wanted() -> None:
    every_second = [float(second) for second in range(100)]
    found = [warm_size(every_second, s, 100, least=0, most=50) for s in (0.2, 1.6, 5.6)]
    assert found == [1, 3, 7]


# -- in the pool --

ON: dict[str, Any] = {"dynamic_limits": True, "max_sessions": 4}
FULL = Load(sessions=1, left_bytes=0)
ROOMY = Load(sessions=0, left_bytes=1 << 40)


def test_off_it_says_what_the_settings_say() -> None:
    scaling = Autoscale(Settings())
    assert (scaling.admitted, scaling.reserve(0, 0)) == (10, 1)
    scaling.observe(FULL, 0)
    assert scaling.admitted == 10
    scaling.settings = Settings(dynamic_limits=True)
    assert scaling.admitted == 1
    assert scaling.observe(None, 0)  # switched off, and on again: it begins anew
    assert scaling.admitted == 10


def test_settings_that_change_move_its_bounds_at_once() -> None:
    scaling = Autoscale(Settings(dynamic_limits=True))
    scaling.observe(ROOMY, 0)
    assert scaling.admitted == 10
    scaling.settings = Settings(dynamic_limits=True, max_sessions=3)
    assert scaling.admitted == 3


def test_whoever_is_refused_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, **ON)
        session = await pool.creation.create(SessionSpec("a", LIMITS))
        pool.admission.autoscale.observe(FULL, 0)
        with pytest.raises(PoolFull) as refused:
            await pool.creation.create(SessionSpec("b", LIMITS))
        said = "1 of 4 sessions are admitted now, since 0 MiB of memory are left."
        assert refused.value.detail == said
        session.browser = fake_browser("Browser.close")
        await pool.termination.end(session, Reason.DELETED, "")
        await pool.creation.create(SessionSpec("b", LIMITS))

    run(main())


def test_sessions_that_run_are_not_ended_by_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Pool(monkeypatch, **ON)
        for _ in range(3):
            await pool.creation.create(SessionSpec("a", LIMITS))
        pool.admission.autoscale.observe(FULL, 0)
        pool.deadlines.sweep()
        await settle()
        assert pool.admission.occupied == 3
        with pytest.raises(PoolFull, match="1 of 4 sessions are admitted"):
            pool.admission.check_slot()

    run(main())


class Watched(Pool):
    """A pool whose limits follow a load that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        super().__init__(monkeypatch, **settings)
        self.pressed = 0.0
        self.memory = 1 << 40
        monkeypatch.setattr(memory, "leaves", lambda group: ())
        monkeypatch.setattr(pressure, "memory", lambda group: self.pressed)
        monkeypatch.setattr(pressure, "cpu", lambda: 0.0)
        self.watch = AlertLoop(self.parts, CanaryLoop(self.runtime, {}), lambda body: None)

    async def look(self, seconds: float = EVERY_S) -> None:
        """Time passes, with a look every two seconds, and what came of it."""
        for _ in range(int(seconds / EVERY_S)):
            self.clock.now += EVERY_S
            await asyncio.sleep(EVERY_S)
            self.watch.step()
            if self.deadlines._due.is_set():
                self.deadlines._due.clear()
                self.deadlines.sweep()
            await settle()


def test_who_waits_gets_in_once_the_limit_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        pool = Watched(monkeypatch, warm_sessions=0, **ON)
        await pool.creation.create(SessionSpec("a", LIMITS))
        pool.pressed = 0.5
        await pool.look()
        assert pool.admission.slots == 1
        waiting = asyncio.create_task(pool.creation.create(SessionSpec("b", LIMITS), 60))
        await settle()
        pool.pressed = 0.0
        await pool.look(RISE_S - EVERY_S)
        assert not waiting.done()
        await pool.look(2 * EVERY_S)
        await waiting
        assert pool.admission.slots == 2

    run(main())


def test_a_burst_leaves_more_in_reserve_and_pressure_takes_them_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        given: dict[str, Any] = {"dynamic_limits": True, "max_sessions": 20, "warm_most": 3}
        pool = Watched(monkeypatch, warm_sessions=1, **given)
        await pool.look()
        assert pool.admission.warm_wanted == 1
        sessions = [await pool.creation.create(SessionSpec("a", LIMITS)) for _ in range(6)]
        await pool.look()
        assert len(pool.admission.warm) == pool.admission.warm_wanted == 3
        for session in pool.registry.chromes:
            session.browser = fake_browser("Browser.close")
        pool.pressed = 0.5
        await pool.look()
        assert len(pool.admission.warm) == 0
        assert [s.owner for s in pool.registry.chromes] == ["a"] * len(sessions)

    run(main())


def test_the_reserve_empties_when_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        given: dict[str, Any] = {"dynamic_limits": True, "max_sessions": 20, "warm_most": 3}
        pool = Watched(monkeypatch, warm_sessions=1, **given)
        for _ in range(6):
            await pool.creation.create(SessionSpec("a", LIMITS))
        await pool.look()
        for session in pool.registry.chromes:
            session.browser = fake_browser("Browser.close")
        await pool.look(602)
        waiting = [s for s in pool.registry.chromes if s.owner == POOL]
        assert len(waiting) == len(pool.admission.warm) == 1

    run(main())


# -- what is read --


def _pressure(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


SOME = "some avg10={} avg60={} avg300=9.99 total=1\nfull avg10=77.00 avg60=77.00 avg300=7 total=7\n"


def test_pressure_as_the_kernel_writes_it(tmp_path: Path) -> None:
    machine = _pressure(
        tmp_path, cpu=SOME.format("5.00", "50.00"), memory=SOME.format("2.50", "1.00")
    )
    assert pressure.cpu(machine) == 0.5
    assert pressure.memory("", machine) == 0.025
    group = tmp_path / "group"
    group.mkdir()
    assert pressure.memory(str(group), machine) == 0.025
    _pressure(group, memory_pressure=SOME.format("40.00", "1.00"))
    assert pressure.memory(str(group), machine) == 0.4


@pytest.mark.parametrize("text", ["", "some\n", "full avg10=1.00 avg60=1.00\n", "\xff"])
def test_pressure_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory").write_text(text, encoding="latin-1")
    assert pressure.some(tmp_path / "memory") is None
    assert pressure.memory("", tmp_path) == 0.0


@pytest.mark.parametrize(("load", "share"), [(0.0, 0.0), (1.0, 0.0), (2.0, 0.5), (10.0, 0.9)])
def test_without_psi_it_is_the_load_average(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load: float, share: float
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (load * 4, 0.0, 0.0))
    assert pressure.cpu(tmp_path) == pytest.approx(share)


def test_what_each_chrome_uses(tmp_path: Path) -> None:
    make: Callable[[Path, int, int], None] = _leaf
    make(tmp_path, 900, 100)
    make(tmp_path / "one", 300, 50)
    make(tmp_path / "two", 30, 50)
    (tmp_path / "gone").mkdir()
    assert sorted(memory.leaves(str(tmp_path))) == [0, 250]
    assert memory.share(str(tmp_path)) == 0.8
    assert (memory.leaves(""), memory.share("")) == ((), None)
    assert (memory.leaves(str(tmp_path / "no")), memory.share(str(tmp_path / "no"))) == ((), None)


def _leaf(folder: Path, used: int, cache: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.max").write_text("1000\n")
    (folder / "memory.stat").write_text(f"inactive_file {cache}\n")
