"""The JSON of the API, as types that check what comes in, and make the OpenAPI document.

Nothing here knows of HTTP, so the client uses the same types.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chromepool.api.history_schema import JournalStatus
from chromepool.api.kept_schema import AddScript, CaptureRequest
from chromepool.launch import MAX_FLAGS, PROFILE_NAME
from chromepool.model import Host, Reason, State

Seconds = Annotated[float, Meta(gt=0, le=30 * 86400)]
_Name = Annotated[str, Meta(min_length=1, max_length=63, description="Name of a label.")]
_Labels = Annotated[
    dict[_Name, Annotated[str, Meta(max_length=256)]],
    Meta(max_length=32, description="Whatever helps to find the session again."),
]
_END = r"$(?!\n)"
"""The end of a text: to Python, ``$`` alone is also before a line's end that ends it."""
_PRINTABLE = r"^[\x20-\x7e]+" + _END


class LimitsRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Limits a session may ask for, up to the operator's. What is left out is the operator's."""

    memory_bytes: Annotated[int, Meta(ge=64 * 1024 * 1024, le=1 << 62)] | None = None
    heap_bytes: Annotated[int, Meta(ge=16_000_000, le=1 << 62)] | None = None
    pids: Annotated[int, Meta(ge=64, le=65536)] | None = None
    files: Annotated[int, Meta(ge=256, le=1 << 20)] | None = None
    cpu_cores: Annotated[float, Meta(gt=0, le=4096)] | None = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10_000)] | None = None


class ViewportRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Size of every page, in CSS pixels."""

    width: Annotated[int, Meta(ge=1, le=10_000)]
    height: Annotated[int, Meta(ge=1, le=10_000)]
    device_scale_factor: Annotated[float, Meta(gt=0, le=8)] = 1.0
    mobile: bool = False


class CreateSession(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of ``POST /v1/sessions``; it may be left out, and so may each of its fields."""

    labels: _Labels = {}
    limits: LimitsRequest = msgspec.field(default_factory=LimitsRequest)
    idle_timeout_s: (
        Annotated[Seconds, Meta(description="End after this long without a CDP command.")] | None
    ) = None
    max_age_s: Annotated[Seconds, Meta(description="End after this long in any case.")] | None = (
        None
    )
    viewport: ViewportRequest | None = None
    user_agent: Annotated[str, Meta(max_length=1024, pattern=_PRINTABLE)] | None = None
    locale: (
        Annotated[
            str,
            Meta(
                max_length=64,
                pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*" + _END,
                description="Such as de-DE: for pages, and as Accept-Language.",
            ),
        ]
        | None
    ) = None
    timezone: (
        Annotated[
            str,
            Meta(
                max_length=64,
                pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*" + _END,
                description="Such as Europe/Berlin.",
            ),
        ]
        | None
    ) = None
    proxy: (
        Annotated[
            str,
            Meta(
                max_length=256,
                pattern=r"^(https?|socks[45]|direct)://[^,\s]*" + _END,
                description="scheme://host:port for all of the session's traffic.",
            ),
        ]
        | None
    ) = None
    proxy_bypass: Annotated[str, Meta(max_length=1024)] | None = None
    ignore_certificate_errors: bool = False
    flags: Annotated[
        list[Annotated[str, Meta(max_length=1100, pattern=r"^--[a-z][a-z0-9-]*(=.*)?" + _END)]],
        Meta(max_length=MAX_FLAGS),
    ] = []
    profile: (
        Annotated[
            str,
            Meta(
                pattern=f"^{PROFILE_NAME}{_END}",
                description="Name of a profile that is kept, for one session at a time.",
            ),
        ]
        | None
    ) = None
    downloads: Literal["allow", "deny"] | None = None
    scripts: Annotated[list[AddScript], Meta(max_length=1000)] = []
    capture: CaptureRequest | None = None
    console: Annotated[bool, Meta(description="Keep what its pages say.")] = False


class LimitsView(msgspec.Struct):
    """The limits of a session, and whether the kernel holds it to them."""

    memory_bytes: int
    heap_bytes: int
    pids: int
    files: int
    cpu_cores: float
    cpu_weight: int
    enforced: bool


class UsageView(msgspec.Struct):
    """What a session uses now, or had used when it ended; null where this machine cannot tell."""

    memory_bytes: int | None
    memory_peak_bytes: int | None
    cpu_s: float | None
    processes: int | None
    files: int | None
    oom_kills: int | None
    pids_refused: int | None
    cpu_stall_s: float | None
    memory_stall_s: float | None
    io_stall_s: float | None
    cdp_messages_in: int
    cdp_messages_out: int
    cdp_bytes_in: int
    cdp_bytes_out: int


class CrashView(msgspec.Struct):
    """A tab that crashed while its session went on."""

    target_id: str
    status: str
    reason: Reason


class ExitView(msgspec.Struct, omit_defaults=True):
    """How and why a session ended."""

    reason: Reason
    detail: str
    code: int | None = None
    signal: str | None = None
    oom_kills: int = 0
    stderr: str = ""


class SessionView(msgspec.Struct):
    """A session as the API shows it."""

    id: str
    number: int
    state: State
    webSocketDebuggerUrl: str
    devtools_url: str
    created_at: datetime.datetime
    last_active_at: datetime.datetime
    expires_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    labels: dict[str, str]
    owner: str
    clients: int
    pid: int
    warm: bool
    limits: LimitsView
    usage: UsageView
    options: dict[str, Any]
    crashes: list[CrashView]
    exit: ExitView | None


class SessionList(msgspec.Struct):
    """``GET /v1/sessions``."""

    sessions: list[SessionView]


class WaiterView(msgspec.Struct):
    """A caller in the queue for a place."""

    place: int
    owner: str
    labels: dict[str, str]
    waiting_s: float


class QueueView(msgspec.Struct):
    """``GET /v1/queue``."""

    waiting: list[WaiterView]


class PlacesView(msgspec.Struct):
    """How full the pool is."""

    now: int
    max: int


class SessionPlaces(msgspec.Struct, omit_defaults=True):
    """Places for sessions; with ``dynamic_limits`` also how many are admitted now, and why."""

    now: int
    max: int
    admitted: int | None = None
    why: str = ""


class AlertView(msgspec.Struct):
    """Something an operator should look at."""

    name: str
    severity: Literal["warning", "critical"]
    since: datetime.datetime
    text: str


class WarmView(msgspec.Struct):
    """Chromes that wait for an owner."""

    waiting: int
    wanted: int
    taken: int


class BreakerView(msgspec.Struct):
    """Whether Chrome keeps failing to start."""

    open: bool
    pause_s: float
    failure: str


class LimitsStatus(msgspec.Struct):
    """What the kernel holds sessions to here."""

    cgroup: str
    enforced: list[str]


class ClientsStatus(msgspec.Struct):
    """WebSockets of all sessions."""

    now: int
    dropped_dead: int
    """Closed since they did not answer pings."""
    dropped_slow: int
    """Closed since they did not read what was for them."""


class HealthStatus(msgspec.Struct):
    """Health checks since the gateway started."""

    rounds: int
    checks: int
    failures: int


class CanariesStatus(msgspec.Struct):
    """Canaries on a schedule since the gateway started."""

    passed: int
    failed: int


class GatewayStatus(msgspec.Struct):
    """The gateway itself."""

    tasks: int


class MemoryStatus(msgspec.Struct):
    """What there is for Chromes, in bytes; null where nothing can tell."""

    left_bytes: int | None
    cap_bytes: int | None


class StatusView(msgspec.Struct):
    """``GET /v1/status``."""

    version: str
    sessions: SessionPlaces
    queue: PlacesView
    warm: WarmView
    breaker: BreakerView
    limits: LimitsStatus
    host: Host
    stopping: bool
    gateway: GatewayStatus
    clients: ClientsStatus
    health: HealthStatus
    canaries: CanariesStatus
    journal: JournalStatus
    alerts: list[AlertView]
    memory: MemoryStatus


class Health(msgspec.Struct):
    """``GET /healthz`` and ``GET /readyz``."""

    status: Literal["ok", "ready"]


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of every error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: str = ""
