"""The table of all metrics, from which the scrape and the reference page are made."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from prometheus_client import core

from chromepool import errors
from chromepool.config import Settings
from chromepool.gateway.histogram import Histogram
from chromepool.gateway.monitor.alerts import rules
from chromepool.model import Reason, State

REFUSALS = tuple(kind.code for kind in errors.CREATION)
"""Codes of the problems that a creation may end with."""

LABELS: dict[str, tuple[str, ...]] = {
    "state": tuple(state for state in State if state is not State.CLOSED),
    "reason": tuple(Reason),
    "start": ("cold", "warm"),
    "direction": ("in", "out"),
    "resource": ("cpu", "memory", "io"),
    "scope": ("pool", "machine"),
    "alert": tuple(rule.name for rule in rules(Settings())),
    "result": ("passed", "failed"),
    "delivery": ("sent", "failed", "dropped"),
}
"""Values of labels. All are in the first scrape already, so that rates have a beginning."""

LABEL_TEXTS: dict[str, str] = {
    "code": "code of a problem, see [the API](api.md)",
    "slot": "0 to `max_sessions` - 1",
    "version": "version of the daemon",
    "cgroup": "`v1`, `v2` or `none`",
}
"""Values of the other labels, in words."""


Kind = Literal["counter", "gauge", "histogram"]
_OWN = "chromepool_"


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """A metric, with its name in a scrape."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


def _own(kind: Kind) -> Callable[..., Family]:
    """Return a constructor that takes name, text and labels."""
    return lambda name, text, *labels: Family(_OWN + name, kind, text, labels)


_counter = _own("counter")
_gauge = _own("gauge")
_histogram = _own("histogram")

FAMILIES = (
    _gauge("info", "Constant 1; the labels describe the daemon.", "version", "cgroup"),
    # sessions
    _gauge("sessions", "Sessions by state, warm Chromes included.", "state"),
    _gauge("sessions_occupied", "Slots in use, those of sessions being created included."),
    _gauge("sessions_max", "Slots in all, which is max_sessions."),
    _counter("sessions_created_total", "Sessions that were created for a client.", "start"),
    _counter("sessions_ended_total", "Sessions that ended, warm Chromes included.", "reason"),
    _histogram(
        "session_creation_seconds",
        "Time in seconds from getting a slot to the session being ready, retries included.",
        "start",
    ),
    _counter("tab_crashes_total", "Tabs that crashed while their session continued.", "reason"),
    _counter("health_checks_total", "Health checks of Chromes."),
    _counter("health_failures_total", "Health checks that a Chrome did not answer in time."),
    # admission
    _gauge("queue_length", "Callers that wait for a slot."),
    _gauge("queue_max", "Callers that may wait for a slot at once."),
    _histogram("queue_wait_seconds", "Time in seconds in the queue, until a slot or a refusal."),
    _counter("creations_refused_total", "Creations that ended with a problem.", "code"),
    _counter("problems_total", "HTTP responses with a problem, on either listener.", "code"),
    _gauge("warm_waiting", "Warm Chromes that are ready."),
    _gauge("warm_wanted", "Warm Chromes that the daemon tries to keep ready."),
    _counter("warm_taken_total", "Warm Chromes that became a client's session."),
    _gauge("breaker_open", "1 while creations are refused because Chrome keeps failing to start."),
    _gauge("breaker_pause_seconds", "Time in seconds until Chrome may be started again."),
    # CDP
    _gauge("clients", "WebSockets that are connected to sessions."),
    _gauge("client_buffered_bytes", "Bytes that clients have not read yet."),
    _counter("cdp_messages_total", "CDP messages of clients (in) and Chromes (out).", "direction"),
    _counter("cdp_bytes_total", "Bytes of CDP by clients (in) and Chromes (out).", "direction"),
    _histogram(
        "cdp_delay_seconds",
        "Time in seconds that the gateway adds to a batch of CDP messages, of every 16th batch.",
        "direction",
    ),
    # each session, by its slot
    _gauge("session_number", "Number of the session in the log.", "slot"),
    _gauge("session_age_seconds", "Age of the session in seconds.", "slot"),
    _gauge("session_clients", "WebSockets that are connected to the session.", "slot"),
    _gauge("session_memory_bytes", "Memory that is charged to the session, in bytes.", "slot"),
    _gauge("session_memory_limit_bytes", "Hard memory cap of the session, in bytes.", "slot"),
    _gauge("session_processes", "Processes of the session.", "slot"),
    _gauge("session_open_files", "Open file descriptors of the session's processes.", "slot"),
    _counter("session_cpu_seconds_total", "CPU time of the slot's sessions, in seconds.", "slot"),
    _counter("session_oom_kills_total", "Processes killed at a session's memory cap.", "slot"),
    _counter(
        "session_stalled_seconds_total",
        "Time in seconds in which a process of the slot's sessions waited for the resource "
        "(PSI, cgroup v2).",
        "slot",
        "resource",
    ),
    # the machine
    _gauge("pool_memory_bytes", "Memory of all sessions in bytes, without reclaimable cache."),
    _gauge("pool_memory_limit_bytes", "Hard memory cap of all sessions together, in bytes."),
    _gauge("memory_left_bytes", "Bytes that pool and machine have left for more sessions."),
    _counter(
        "stalled_seconds_total",
        "Time in seconds in which a process waited for the resource (PSI).",
        "scope",
        "resource",
    ),
    # alerts
    _gauge("alert_raised", "1 while the daemon's own alert is raised.", "alert"),
    _counter("alerts_raised_total", "Alerts that the daemon raised.", "alert"),
    _counter("alerts_cleared_total", "Alerts that the daemon cleared.", "alert"),
    _gauge("webhook_waiting", "Alerts that wait to be sent to the webhook."),
    _counter(
        "webhook_alerts_total",
        "Alerts that the webhook accepted (sent) or did not accept (failed), and alerts that were "
        "never sent because too many waited or the gateway ended (dropped).",
        "delivery",
    ),
    _counter("canaries_total", "Scheduled runs of the canary.", "result"),
    # the gateway
    _counter("gateway_restarts_total", "Earlier gateways of the daemon, replaced ones included."),
    _counter("gateway_deaths_total", "Gateways that died or hung since the daemon's start."),
    _gauge("gateway_tasks", "Tasks of the gateway's event loop."),
    _histogram(
        "event_loop_lag_seconds", "Delay of the event loop in seconds, measured twice a second."
    ),
    Family("process_cpu_seconds_total", "counter", "CPU time of the gateway, in seconds."),
    Family("process_resident_memory_bytes", "gauge", "Resident memory of the gateway, in bytes."),
    Family("process_virtual_memory_bytes", "gauge", "Virtual memory of the gateway, in bytes."),
    Family("process_start_time_seconds", "gauge", "Start of the gateway, in seconds since 1970."),
    Family("process_open_fds", "gauge", "Open file descriptors of the gateway, where countable."),
    Family("process_max_fds", "gauge", "File descriptors that the gateway may have open."),
)
BY_NAME = {family.name: family for family in FAMILIES}


class MetricsPage:
    """Samples of one scrape, of metrics in the table only."""

    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {
            f.name: getattr(core, f"{f.kind.title()}MetricFamily")(f.name, f.text, labels=f.labels)
            for f in FAMILIES
            if f.name.startswith(_OWN)
        }

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample, unless the value is None: this machine cannot measure it."""
        if value is None:
            return
        pairs = dict(zip(BY_NAME[_OWN + name].labels, labels, strict=True))
        self.metrics[_OWN + name].add_sample(_OWN + name, pairs, float(value))

    def put_each(self, name: str, values: Mapping[str, float], labels: Iterable[str]) -> None:
        """Add a sample for each label."""
        for label in labels:
            self.put(name, values[label], label)

    def put_durations(self, name: str, durations: Histogram, *labels: str) -> None:
        """Add the samples of a histogram."""
        counts = durations.cumulative()
        buckets = [("+Inf" if math.isinf(le) else str(le), float(count)) for le, count in counts]
        self.metrics[_OWN + name].add_metric(labels, buckets, durations.total_s)
