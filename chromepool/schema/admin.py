"""The API's types for the daemon as a whole: status, health, queue, drain, reload, problems."""

import dataclasses
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from chromepool.model import Host
from chromepool.schema.fields import Seconds, about
from chromepool.schema.history import JournalStatus

_Deadline = Annotated[float, msgspec.Meta(ge=0, le=30 * 86400)]
Severity = Literal["warning", "critical"]
MOST_WAIT_S = 60.0
"""Longest time that one request may wait for the end of a drain, in seconds."""


class DrainParams(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/drain``."""

    wait: Annotated[
        Seconds, about(f"Longest wait for the drain's end, in seconds; up to {MOST_WAIT_S:g}.")
    ] = "0"


class DrainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Options of a drain; each has a default."""

    deadline_s: Annotated[
        _Deadline | None, about("Seconds until the remaining sessions are ended; null for never.")
    ] = None
    exit: Annotated[bool, about("Exit the daemon once no session is left.")] = False


class DrainView(msgspec.Struct):
    """Progress of a drain."""

    draining: Annotated[bool, about("True while the daemon refuses new sessions.")]
    sessions: Annotated[int, about("Number of sessions that are left.")]
    pid: Annotated[int, about("Process id of the daemon, to watch for its exit.")]
    ends_at: Annotated[datetime | None, about("Deadline of the remaining sessions.")] = None
    exit: Annotated[bool, about("True if the daemon exits once no session is left.")] = False


class ReloadView(msgspec.Struct):
    """Answer to a reload: a new gateway is starting, and takes over once it has loaded."""

    restarts: Annotated[int, about("`gateway.restarts` of `/v1/status` before; the reload adds 1.")]


class Health(msgspec.Struct):
    """Answer of the health checks."""

    status: Annotated[Literal["ok", "ready"], about("`ok` or `ready`.")]


class WaiterView(msgspec.Struct):
    """A caller in the queue for a slot."""

    place: Annotated[int, about("Position in the queue; 1 is next.")]
    owner: Annotated[str, about("Owner of the session to come.")]
    labels: Annotated[dict[str, str], about("Labels of the session to come.")]
    waiting_s: Annotated[float, about("Seconds since the caller joined the queue.")]


class QueueView(msgspec.Struct):
    """Callers that wait for a slot."""

    waiting: Annotated[list[WaiterView], about("Waiting callers, the next one first.")]


class PlacesView(msgspec.Struct):
    """Callers in the queue, and how many may wait."""

    now: Annotated[int, about("Callers that wait now.")]
    max: Annotated[int, about("Callers that may wait.")]


class SessionPlaces(msgspec.Struct, omit_defaults=True):
    """Slots for sessions."""

    now: Annotated[int, about("Slots in use, creations in progress included.")]
    max: Annotated[int, about("Slots in total, the setting `max_sessions`.")]
    admitted: Annotated[int | None, about("Slots that `dynamic_limits` admits now.")] = None
    why: Annotated[str, about("Reason for the number of admitted slots.")] = ""


class AlertView(msgspec.Struct, frozen=True):
    """A condition that an operator should look at, for as long as it lasts."""

    name: Annotated[str, about("Name of the alert.")]
    severity: Annotated[Severity, about("Severity of the alert.")]
    since: Annotated[datetime, about("Time at which the alert was raised.")]
    text: Annotated[str, about("Cause of the alert in words.")]


class WarmView(msgspec.Struct):
    """Warm Chromes, which wait for an owner."""

    waiting: Annotated[int, about("Warm Chromes without an owner.")]
    wanted: Annotated[int, about("Warm Chromes that the pool aims for.")]
    taken: Annotated[int, about("Warm Chromes handed out since the gateway started.")]


class BreakerView(msgspec.Struct):
    """The circuit breaker, which opens when Chrome keeps failing to start."""

    open: Annotated[bool, about("True while starts are paused.")]
    pause_s: Annotated[float, about("Seconds until the next start may be tried.")]
    failure: Annotated[str, about("Last failure, in Chrome's words.")]


class LimitsStatus(msgspec.Struct):
    """Enforcement of limits on this machine."""

    cgroup: Annotated[str, about("Control groups in use: `v1`, `v2` or `none`.")]
    enforced: Annotated[list[str], about("Limits that control groups enforce.")]


class ClientsStatus(msgspec.Struct):
    """WebSockets of all sessions."""

    now: Annotated[int, about("WebSockets that are attached now.")]
    dropped_dead: Annotated[int, about("WebSockets closed for unanswered pings.")]
    dropped_slow: Annotated[int, about("WebSockets closed for reading too slowly.")]


class HealthStatus(msgspec.Struct):
    """Health checks of Chromes since the gateway started."""

    rounds: Annotated[int, about("Rounds over all sessions.")]
    checks: Annotated[int, about("Checks of one Chrome each.")]
    failures: Annotated[int, about("Failed checks.")]


class CanariesStatus(msgspec.Struct):
    """Scheduled canaries since the gateway started."""

    passed: Annotated[int, about("Canaries that passed.")]
    failed: Annotated[int, about("Canaries that failed.")]


class GatewayStatus(msgspec.Struct):
    """The gateway process."""

    tasks: Annotated[int, about("asyncio tasks that run now.")]
    restarts: Annotated[int, about("Gateways before this one since the daemon started.")]
    deaths: Annotated[int, about("Gateways before this one that died or were killed as hung.")]


class MemoryStatus(msgspec.Struct):
    """Memory for Chromes, in bytes; null where this machine does not measure it."""

    left_bytes: Annotated[int | None, about("Memory left for another Chrome, in bytes.")]
    cap_bytes: Annotated[int | None, about("Lowest limit of all control groups, in bytes.")]


class StatusView(msgspec.Struct):
    """State of the daemon, and what it found on this machine."""

    version: Annotated[str, about("Version of chromepool.")]
    sessions: SessionPlaces
    queue: PlacesView
    warm: WarmView
    breaker: BreakerView
    limits: LimitsStatus
    host: Host
    stopping: Annotated[bool, about("True while the daemon is stopping.")]
    drain: DrainView
    gateway: GatewayStatus
    clients: ClientsStatus
    health: HealthStatus
    canaries: CanariesStatus
    journal: JournalStatus
    alerts: Annotated[list[AlertView], about("Raised alerts.")]
    memory: MemoryStatus


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: Annotated[str, about("URN that ends with the code.")]
    title: Annotated[str, about("The code in words.")]
    status: Annotated[int, about("HTTP status.")]
    code: Annotated[str, about("Stable name of the error, for programs to match on.")]
    detail: Annotated[str, about("Failure and its cause in words.")]
    remedy: Annotated[str, about("Advice on how to proceed; left out where there is none.")] = ""


@dataclasses.dataclass(slots=True)
class CanaryResult:
    """The outcome of one canary, as ``chromepool canary --json`` and the events show it."""

    ok: bool = False
    step: str = ""
    """The step that failed."""
    error: str = ""
    """The failure in words."""
    steps_s: dict[str, float] = dataclasses.field(default_factory=dict)
    """Seconds that each completed step took."""
