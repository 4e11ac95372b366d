"""Every metric there is, declared once: the scrape and the reference page are made from it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from chromepool import errors
from chromepool.config import Settings
from chromepool.gateway.monitor.alerts import rules
from chromepool.model import Reason, State

REFUSALS = tuple(kind.code for kind in errors.CREATION)
"""Codes of the problems with which a creation may end."""

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
"""Labels whose values are all there from the first scrape on, so that rates have a beginning."""

LABEL_TEXTS: dict[str, str] = {
    "code": "code of a problem, see [the API](api.md)",
    "slot": "0 to `max_sessions` - 1",
    "version": "the daemon's",
    "cgroup": "`v1`, `v2` or `none`",
}
"""What the others may be, in words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """One metric, by the name it has in a scrape."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(f"chromepool_{name}", "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(f"chromepool_{name}", "gauge", text, labels)


def _histogram(name: str, text: str, *labels: str) -> Family:
    return Family(f"chromepool_{name}", "histogram", text, labels)


FAMILIES = (
    _gauge("info", "Always 1.", "version", "cgroup"),
    # sessions
    _gauge("sessions", "Chromes, those that wait for an owner among them.", "state"),
    _gauge("sessions_occupied", "Places taken, those of creations under way included."),
    _gauge("sessions_max", "Places there are."),
    _counter("sessions_created_total", "Sessions that somebody was given.", "start"),
    _counter("sessions_ended_total", "Chromes of which nothing is left any more.", "reason"),
    _histogram(
        "session_creation_seconds",
        "From the place until the session is ready, further tries included.",
        "start",
    ),
    _counter("tab_crashes_total", "Tabs that crashed while their session went on.", "reason"),
    _counter("health_checks_total", "Health checks of Chromes."),
    _counter("health_failures_total", "Health checks that a Chrome did not answer."),
    # admission
    _gauge("queue_length", "Callers that wait for a place."),
    _gauge("queue_max", "Callers that may wait."),
    _histogram(
        "queue_wait_seconds",
        "Time in the queue of those who had to wait, whether they got a place or not.",
    ),
    _counter("creations_refused_total", "Creations that ended with a problem.", "code"),
    _counter("problems_total", "HTTP answers, on either listener, that were a problem.", "code"),
    _gauge("warm_waiting", "Chromes that wait for an owner."),
    _gauge("warm_wanted", "Chromes that should wait for an owner."),
    _counter("warm_taken_total", "Waiting Chromes that were taken."),
    _gauge("breaker_open", "1 while Chrome keeps failing to start, so that callers are refused."),
    _gauge("breaker_pause_seconds", "Time until a start may be tried again."),
    # CDP
    _gauge("clients", "WebSockets on sessions."),
    _gauge("client_buffered_bytes", "Bytes that clients have not read yet."),
    _counter("cdp_messages_total", "CDP messages; in: of clients, out: of Chromes.", "direction"),
    _counter("cdp_bytes_total", "Bytes of those messages.", "direction"),
    _histogram(
        "cdp_delay_seconds",
        "The gateway's own time for a batch of messages, of one batch in 16.",
        "direction",
    ),
    # each session, by its slot
    _gauge("session_number", "Number that the log calls the session by.", "slot"),
    _gauge("session_age_seconds", "Time since the session began.", "slot"),
    _gauge("session_clients", "WebSockets on the session.", "slot"),
    _gauge("session_memory_bytes", "Memory that the session is charged.", "slot"),
    _gauge("session_memory_limit_bytes", "Hard memory cap of the session.", "slot"),
    _gauge("session_processes", "Processes of the session.", "slot"),
    _gauge("session_open_files", "Open descriptors of all its processes.", "slot"),
    _counter("session_cpu_seconds_total", "CPU time of the slot's sessions.", "slot"),
    _counter("session_oom_kills_total", "Processes killed for their session's cap.", "slot"),
    _counter(
        "session_stalled_seconds_total",
        "Time in which some process of the slot's sessions waited for the resource "
        "(PSI, cgroup v2).",
        "slot",
        "resource",
    ),
    # the machine
    _gauge("pool_memory_bytes", "Memory of all sessions, without what can be dropped at once."),
    _gauge("pool_memory_limit_bytes", "Hard memory cap of all sessions together."),
    _gauge("memory_left_bytes", "What pool and machine have left for another Chrome."),
    _counter(
        "stalled_seconds_total",
        "Time in which some process waited for the resource (PSI).",
        "scope",
        "resource",
    ),
    # what the operator is told
    _gauge("alert_raised", "1 while the daemon's own alert is raised.", "alert"),
    _counter("alerts_raised_total", "How often it was raised.", "alert"),
    _counter("alerts_cleared_total", "How often it was cleared.", "alert"),
    _gauge("webhook_waiting", "Alerts that wait to be sent to the webhook."),
    _counter(
        "webhook_alerts_total",
        "Alerts the webhook took (sent) or did not take (failed), and those let go unsent, since "
        "too many waited (dropped).",
        "delivery",
    ),
    _counter("canaries_total", "Canaries on a schedule.", "result"),
    # the gateway
    _counter(
        "gateway_restarts_total",
        "Gateways there were before this one since the daemon's start, replaced ones included.",
    ),
    _counter(
        "gateway_deaths_total",
        "Gateways that died, or were ended because they hung, since the daemon's start.",
    ),
    _gauge("gateway_tasks", "Tasks of the gateway's event loop."),
    _histogram(
        "event_loop_lag_seconds", "How late the gateway's event loop is, measured twice a second."
    ),
    Family("process_cpu_seconds_total", "counter", "CPU time of the gateway."),
    Family("process_resident_memory_bytes", "gauge", "Resident memory of the gateway."),
    Family("process_virtual_memory_bytes", "gauge", "Virtual memory of the gateway."),
    Family("process_start_time_seconds", "gauge", "When the gateway started, since 1970."),
    Family("process_open_fds", "gauge", "Open descriptors of the gateway, where it may count."),
    Family("process_max_fds", "gauge", "Descriptors that the gateway may have open."),
)
BY_NAME = {family.name: family for family in FAMILIES}
