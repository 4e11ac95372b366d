"""Metrics for Prometheus, read from the pool when they are scraped wherever that is possible."""

import asyncio
import collections
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chromepool import __version__, wire
from chromepool.gateway.browser.browser import Traffic
from chromepool.gateway.capacity import memory
from chromepool.gateway.histogram import Histogram
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.health import HealthChecker
from chromepool.gateway.monitor.metric_table import LABELS, REFUSALS, MetricsPage
from chromepool.gateway.sessions.events import SessionGone, SessionReady, TabCrashed
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import POOL, Session, measure
from chromepool.model import Reason, State, Usage
from chromepool.psi import read_stall_s

log = get_logger("chromepool.gateway.monitor")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FRESH_S = 1.0
"""Time for which a session is not measured again: the page may be scraped at any rate."""
_ANSWERS_S = 5.0
"""Time that the supervisor has to measure the sessions; after it, the last measurements stay."""
_PSI = Path("/proc/pressure")
_LAG_EVERY_S = 0.5
_LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_COUNTED = ("cpu_s", "oom_kills", "cpu_stall_s", "memory_stall_s", "io_stall_s")
"""Fields of the usage that only grow."""


class Lag:
    """Measures how much later than asked the event loop wakes a task."""

    def __init__(self) -> None:
        self.durations = Histogram(_LAG_BOUNDS)

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self.durations.add(max(0.0, loop.time() - due))


class Slot:
    """A slot, whose counters continue from one session to the next."""

    def __init__(self) -> None:
        self.key: int | None = None
        """Key of the session in the slot."""
        self.usage = Usage()
        """Usage of that session when it was last measured."""
        self.asked_at = -math.inf
        """Time of that measurement, in the clock's seconds."""
        self._before: dict[str, float] = {}
        self._now: dict[str, float] = {}

    def note(self, usage: Usage) -> None:
        """Record the usage of the slot's session."""
        self.usage = usage
        for name in _COUNTED:
            value = getattr(usage, name)
            if value is not None:  # without v2, CPU time of processes that ended is not counted
                self._now[name] = max(value, self._now.get(name, 0.0))

    def clear(self, usage: Usage) -> None:
        """Record the last usage of a session that has ended, and free the slot."""
        self.note(usage)
        self._before = {name: self.counted(name) or 0.0 for name in self._before | self._now}
        self._now = {}
        self.usage = Usage()
        self.key = None
        self.asked_at = -math.inf

    def counted(self, name: str) -> float | None:
        """Return the sum over all sessions of the slot, None if it was never measured."""
        if name not in self._before | self._now:
            return None
        return self._before.get(name, 0.0) + self._now.get(name, 0.0)


class Slots:
    """Assigns the lowest free slot to each session: a bounded label that does not show its id."""

    def __init__(self, max_slots: int) -> None:
        self._max_slots = max_slots
        self._slots: list[Slot] = []
        self._by_key: dict[int, Slot] = {}

    def assign(self, key: int) -> None:
        """Give a session a slot, unless it has one, or all are taken: for a moment there may be one
        Chrome more than slots, which is assigned one later."""
        if key in self._by_key:
            return
        free = next((slot for slot in self._slots if slot.key is None), None)
        if free is None and len(self._slots) < self._max_slots:
            free = Slot()
            self._slots.append(free)
        if free is not None:
            free.key = key
            self._by_key[key] = free

    def get(self, key: int) -> Slot | None:
        """Return the slot of a session, if it has one."""
        return self._by_key.get(key)

    def release(self, key: int, usage: Usage) -> None:
        """Free the slot of a session that has ended, if it had one."""
        slot = self._by_key.pop(key, None)
        if slot is not None:
            slot.clear(usage)

    def __iter__(self) -> Iterator[tuple[str, Slot]]:
        """Iterate over labels and slots, those that are free again included."""
        return ((str(number), slot) for number, slot in enumerate(self._slots))


class Metrics(Collector):
    """The page at ``/metrics``. No session's id is ever on it: ids are secret."""

    def __init__(
        self,
        pool: Pool,
        health: HealthChecker,
        welcome: wire.Welcome,
        writers: Sequence[Callable[[MetricsPage], None]] = (),
    ) -> None:
        """``writers`` write the parts of the page that other parts of the daemon count."""
        self._pool = pool
        self._health = health
        self._welcome = welcome
        self._slots = Slots(pool.runtime.settings.max_sessions)
        self._created: collections.Counter[str] = collections.Counter()
        self._ended: collections.Counter[str] = collections.Counter()
        self._tab_crashes: collections.Counter[str] = collections.Counter()
        self._problems: collections.Counter[str] = collections.Counter()
        self._past = Traffic()
        self._asking = asyncio.Lock()
        self.lag = Lag()
        self._writers = (
            self._write_sessions,
            self._write_admission,
            self._write_cdp,
            self._write_slots,
            self._write_machine,
            self._write_gateway,
            *writers,
        )
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def scrape(self) -> bytes:
        """Return the whole page."""
        async with self._asking:
            await self._ask()
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are known now. Called by prometheus_client."""
        page = MetricsPage()
        for write in self._writers:
            write(page)
        return page.metrics.values()

    def count_problem(self, code: str) -> None:
        """Count an HTTP answer that was a problem; the API has a fixed set of codes."""
        self._problems[code] += 1

    async def _ask(self) -> None:
        """Measure each session, except those that were measured a moment ago."""
        now = self._pool.runtime.clock()
        due: list[Session] = []
        for session in self._pool.registry.chromes:
            if session.state in (State.READY, State.FROZEN):
                self._slots.assign(session.key)
                slot = self._slots.get(session.key)
                if slot is not None and now - slot.asked_at >= _FRESH_S:
                    slot.asked_at = now
                    due.append(session)
        try:
            async with asyncio.timeout(_ANSWERS_S):
                await asyncio.gather(*(self._ask_about(session) for session in due))
        except TimeoutError:
            log.warning("usage.late")

    async def _ask_about(self, session: Session) -> None:
        usage = await measure(session, self._pool.runtime.supervisor)
        slot = self._slots.get(session.key)  # the session may have ended meanwhile
        if slot is not None:
            slot.note(usage)

    def on_ready(self, event: SessionReady) -> None:
        """Count a session that was created, and give it a slot's label."""
        session = event.session
        self._slots.assign(session.key)
        if session.owner != POOL and event.before is not State.RESUMING:
            self._created["warm" if session.warm else "cold"] += 1

    def on_gone(self, event: SessionGone) -> None:
        """Count the end of a session; its Chrome is no longer among those that run."""
        session = event.session
        self._ended[session.reason or ""] += 1
        self._slots.release(session.key, session.usage)
        if session.browser is not None:
            self._past += session.browser.traffic

    def on_tab_crashed(self, event: TabCrashed) -> None:
        """Count a crashed tab by its reason."""
        self._tab_crashes[event.crash.reason] += 1

    def _write_sessions(self, page: MetricsPage) -> None:
        pool = self._pool
        stats = pool.stats
        states = collections.Counter(str(session.state) for session in pool.registry.chromes)
        page.put_each("sessions", states, LABELS["state"])
        page.put("sessions_occupied", pool.admission.occupied)
        page.put("sessions_max", pool.runtime.settings.max_sessions)
        for start, seconds in (("cold", stats.cold), ("warm", stats.warm)):
            page.put("sessions_created_total", self._created[start], start)
            page.put_durations("session_creation_seconds", seconds, start)
        page.put_each("sessions_ended_total", self._ended, LABELS["reason"])
        crashes = {Reason.CRASHED, Reason.OUT_OF_MEMORY, *self._tab_crashes}
        page.put_each("tab_crashes_total", self._tab_crashes, sorted(crashes))
        page.put("health_checks_total", self._health.checks)
        page.put("health_failures_total", self._health.failures)

    def _write_admission(self, page: MetricsPage) -> None:
        pool = self._pool
        admission = pool.admission
        page.put("queue_length", admission.queue.waiting)
        page.put("queue_max", pool.runtime.settings.queue_length)
        page.put_durations("queue_wait_seconds", pool.stats.waited)
        refused = pool.stats.refused
        page.put_each("creations_refused_total", refused, dict.fromkeys((*REFUSALS, *refused)))
        codes = dict.fromkeys((*REFUSALS, *self._problems))
        page.put_each("problems_total", self._problems, codes)
        page.put("warm_waiting", len(pool.warm))
        page.put("warm_wanted", admission.warm_wanted)
        page.put("warm_taken_total", pool.warm.taken)
        page.put("breaker_open", admission.breaker.is_open)
        page.put("breaker_pause_seconds", admission.breaker.pause_s(pool.runtime.clock()))

    def _write_cdp(self, page: MetricsPage) -> None:
        browsers = [s.browser for s in self._pool.registry.chromes if s.browser is not None]
        traffic = sum((browser.traffic for browser in browsers), start=self._past)
        clients = [client for browser in browsers for client in browser.clients]
        page.put("clients", len(clients))
        page.put("client_buffered_bytes", sum(client.buffered_bytes for client in clients))
        page.put("cdp_messages_total", traffic.messages_in, "in")
        page.put("cdp_messages_total", traffic.messages_out, "out")
        page.put("cdp_bytes_total", traffic.bytes_in, "in")
        page.put("cdp_bytes_total", traffic.bytes_out, "out")
        page.put_durations("cdp_delay_seconds", self._pool.latency.to_chrome, "in")
        page.put_durations("cdp_delay_seconds", self._pool.latency.to_client, "out")

    def _write_slots(self, page: MetricsPage) -> None:
        sessions = {session.key: session for session in self._pool.registry.chromes}
        for label, slot in self._slots:
            page.put("session_cpu_seconds_total", slot.counted("cpu_s"), label)
            page.put("session_oom_kills_total", slot.counted("oom_kills"), label)
            for resource in LABELS["resource"]:
                stalled_s = slot.counted(f"{resource}_stall_s")
                page.put("session_stalled_seconds_total", stalled_s, label, resource)
            session = sessions.get(slot.key or 0)
            if session is not None:
                page.put("session_number", session.key, label)
                page.put("session_age_seconds", session.clock() - session.began, label)
                clients = session.browser.clients if session.browser is not None else []
                page.put("session_clients", len(clients), label)
                page.put("session_memory_limit_bytes", session.limits.memory_bytes, label)
                page.put("session_memory_bytes", slot.usage.memory_bytes, label)
                page.put("session_processes", slot.usage.processes, label)
                page.put("session_open_files", slot.usage.files, label)

    def _write_machine(self, page: MetricsPage) -> None:
        host = self._pool.runtime.host
        group = host.memory_group
        most = self._pool.runtime.settings.pool_memory_bytes
        left = memory.group_left(Path(group)) if group else None
        used = sum(slot.usage.memory_bytes or 0 for _, slot in self._slots)
        page.put("pool_memory_bytes", used if left is None else max(0, most - left))
        page.put("pool_memory_limit_bytes", most)
        page.put("memory_left_bytes", memory.left(host.counted_in))
        for resource in LABELS["resource"]:
            name = "stalled_seconds_total"
            page.put(name, read_stall_s(_PSI / resource), "machine", resource)
            if group:
                page.put(name, read_stall_s(Path(group, f"{resource}.pressure")), "pool", resource)

    def _write_gateway(self, page: MetricsPage) -> None:
        page.put("info", 1, __version__, self._pool.runtime.host.cgroup)
        page.put("gateway_restarts_total", self._welcome.restarts)
        page.put("gateway_deaths_total", self._welcome.deaths)
        page.put("gateway_tasks", len(asyncio.all_tasks()))
        page.put_durations("event_loop_lag_seconds", self.lag.durations)
