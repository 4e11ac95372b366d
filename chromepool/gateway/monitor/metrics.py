"""Metrics for Prometheus: read from the pool when they are asked for, as far as that goes."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from chromepool import __version__
from chromepool.gateway.browser.browser import Traffic
from chromepool.gateway.capacity import memory
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.lag import Lag
from chromepool.gateway.monitor.metric_table import LABELS, REFUSALS, MetricsPage
from chromepool.gateway.monitor.slots import Slots
from chromepool.gateway.sessions.creation import Creator
from chromepool.gateway.sessions.events import Event
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason, State
from chromepool.supervisor.linux.cgroup.tree import read_stall_s

log = get_logger("chromepool.gateway.monitor")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FRESH_S = 1.0
"""The supervisor is not asked about a session again so soon: anybody who can reach the page may ask
for it, as often as they like."""
_ANSWERS_S = 5.0
"""Time that the supervisor has to tell what the sessions use; after it the page goes without."""
_PSI = Path("/proc/pressure")


class Metrics(Collector):
    """The page at ``/metrics``. No session's id is ever on it: ids are secret."""

    def __init__(self, manager: Manager, creator: Creator) -> None:
        self._manager, self._creator = manager, creator
        self._slots = Slots()
        self._created: collections.Counter[str] = collections.Counter()
        self._ended: collections.Counter[str] = collections.Counter()
        self._tab_crashes: collections.Counter[str] = collections.Counter()
        self._problems: collections.Counter[str] = collections.Counter()
        self._past = Traffic()
        self._asking = asyncio.Lock()
        self.lag = Lag()
        self.sources: list[Callable[[MetricsPage], None]] = [
            self._write_sessions,
            self._write_admission,
            self._write_cdp,
            self._write_slots,
            self._write_machine,
            self._write_canaries,
            self._write_gateway,
        ]
        """Each writes its part of the page; other parts of the daemon may add theirs."""
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        manager.events.watch(self._on_event)

    async def scrape(self) -> bytes:
        """The whole page."""
        async with self._asking:
            await self._ask()
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """The registry's: what is known now."""
        sheet = MetricsPage()
        for write in self.sources:
            write(sheet)
        return sheet.metrics()

    def count_problem(self, code: str) -> None:
        """An HTTP answer was a problem of this code, of which there are as many as the API's
        reference lists."""
        self._problems[code] += 1

    async def _ask(self) -> None:
        """What each session uses, but for those that were asked about a moment ago."""
        now, due = self._manager.clock(), []
        for session in self._manager.chromes:
            if session.state in (State.READY, State.FROZEN):
                self._seat(session)
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
        usage = await self._manager.usage(session)
        slot = self._slots.get(session.key)  # it may have ended meanwhile
        if slot is not None:
            slot.note(usage)

    def _seat(self, session: Session) -> None:
        self._slots.assign(session.key, self._manager.settings.max_sessions)

    # -- what cannot be read later --

    def _on_event(self, event: Event) -> None:
        match event.name:
            case "session.created":
                self._created["warm" if event.fields["warm"] else "cold"] += 1
                self._seat(self._manager.get(event.session_id or ""))
            case "session.ready":
                self._seat(self._manager.get(event.session_id or ""))
            case "session.closed":
                self._on_closed(self._manager.get(event.session_id or ""))
            case "session.tab_crashed":
                self._tab_crashes[event.fields["reason"]] += 1

    def _on_closed(self, session: Session) -> None:
        """Its Chrome is no longer among the manager's, so that nothing is counted twice."""
        self._ended[session.reason or ""] += 1
        self._slots.release(session.key, session.usage)
        if session.browser is not None:
            _add(self._past, session.browser.traffic)

    # -- the page --

    def _write_sessions(self, sheet: MetricsPage) -> None:
        manager, creator, stats = self._manager, self._creator, self._creator.stats
        states = collections.Counter(session.state for session in manager.chromes)
        for state in LABELS["state"]:
            sheet.put("sessions", states[State(state)], state)
        sheet.put("sessions_occupied", creator.occupied)
        sheet.put("sessions_max", manager.settings.max_sessions)
        for start, durations in (("cold", stats.cold), ("warm", stats.warm)):
            sheet.put("sessions_created_total", self._created[start], start)
            sheet.put_durations("session_creation_seconds", durations, start)
        for reason in LABELS["reason"]:
            sheet.put("sessions_ended_total", self._ended[reason], reason)
        for reason in dict.fromkeys((Reason.CRASHED, Reason.OUT_OF_MEMORY, *self._tab_crashes)):
            sheet.put("tab_crashes_total", self._tab_crashes[reason], reason)
        sheet.put("health_checks_total", manager.health.checks)
        sheet.put("health_failures_total", manager.health.failures)

    def _write_admission(self, sheet: MetricsPage) -> None:
        creator, settings = self._creator, self._manager.settings
        sheet.put("queue_length", creator.admission.waiting)
        sheet.put("queue_max", settings.queue_length)
        sheet.put_durations("queue_wait_seconds", creator.stats.waited)
        for code in dict.fromkeys((*REFUSALS, *creator.stats.refused)):
            sheet.put("creations_refused_total", creator.stats.refused[code], code)
        for code in dict.fromkeys((*REFUSALS, *self._problems)):
            sheet.put("problems_total", self._problems[code], code)
        sheet.put("warm_waiting", creator.warm.waiting)
        sheet.put("warm_wanted", creator.warm.wanted())
        sheet.put("warm_taken_total", creator.warm.taken)
        sheet.put("breaker_open", creator.breaker.is_open)
        sheet.put("breaker_pause_seconds", creator.breaker.pause_s(self._manager.clock()))

    def _write_cdp(self, sheet: MetricsPage) -> None:
        browsers = [s.browser for s in self._manager.chromes if s.browser is not None]
        traffic = Traffic()
        for said in (self._past, *(browser.traffic for browser in browsers)):
            _add(traffic, said)
        clients = [client for browser in browsers for client in browser.clients]
        sheet.put("clients", len(clients))
        sheet.put("client_buffered_bytes", sum(client.buffered_bytes for client in clients))
        sheet.put("cdp_messages_total", traffic.messages_in, "in")
        sheet.put("cdp_messages_total", traffic.messages_out, "out")
        sheet.put("cdp_bytes_total", traffic.bytes_in, "in")
        sheet.put("cdp_bytes_total", traffic.bytes_out, "out")
        delays = self._manager.delays
        sheet.put_durations("cdp_delay_seconds", delays.to_chrome, "in")
        sheet.put_durations("cdp_delay_seconds", delays.to_client, "out")

    def _write_slots(self, sheet: MetricsPage) -> None:
        sessions = {session.key: session for session in self._manager.chromes}
        for label, slot in self._slots:
            sheet.put("session_cpu_seconds_total", slot.counted("cpu_s"), label)
            sheet.put("session_oom_kills_total", slot.counted("oom_kills"), label)
            for resource in LABELS["resource"]:
                stalled_s = slot.counted(f"{resource}_stall_s")
                sheet.put("session_stalled_seconds_total", stalled_s, label, resource)
            session = sessions.get(slot.key or 0)
            if session is not None:
                sheet.put("session_number", session.key, label)
                sheet.put("session_age_seconds", session.clock() - session.began, label)
                clients = session.browser.clients if session.browser is not None else []
                sheet.put("session_clients", len(clients), label)
                sheet.put("session_memory_limit_bytes", session.limits.memory_bytes, label)
                sheet.put("session_memory_bytes", slot.usage.memory_bytes, label)
                sheet.put("session_processes", slot.usage.processes, label)
                sheet.put("session_open_files", slot.usage.files, label)

    def _write_machine(self, sheet: MetricsPage) -> None:
        group, most = self._manager.host.memory_group, self._manager.settings.pool_memory_bytes
        left = memory.group_left(Path(group)) if group else None
        used = sum(slot.usage.memory_bytes or 0 for _, slot in self._slots)
        sheet.put("pool_memory_bytes", used if left is None else max(0, most - left))
        sheet.put("pool_memory_limit_bytes", most)
        sheet.put("memory_left_bytes", memory.left(self._manager.host.counted_in))
        for resource in LABELS["resource"]:
            name = "stalled_seconds_total"
            sheet.put(name, read_stall_s(_PSI / resource), "machine", resource)
            if group:
                sheet.put(name, read_stall_s(Path(group, f"{resource}.pressure")), "pool", resource)

    def _write_canaries(self, sheet: MetricsPage) -> None:
        for result in LABELS["result"]:
            sheet.put("canaries_total", self._manager.canaries[result], result)

    def _write_gateway(self, sheet: MetricsPage) -> None:
        sheet.put("info", 1, __version__, self._manager.host.cgroup)
        sheet.put("gateway_restarts_total", self._manager.restarts)
        sheet.put("gateway_deaths_total", self._manager.deaths)
        sheet.put("gateway_tasks", len(asyncio.all_tasks()))
        sheet.put_durations("event_loop_lag_seconds", self.lag.durations)


def _add(traffic: Traffic, more: Traffic) -> None:
    traffic.messages_in += more.messages_in
    traffic.messages_out += more.messages_out
    traffic.bytes_in += more.bytes_in
    traffic.bytes_out += more.bytes_out
