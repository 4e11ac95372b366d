"""The JSON of the API, as types that check what comes in, and make the OpenAPI document.

Nothing here knows of HTTP, so the client uses the same types.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chromepool.chrome_options import MAX_FLAGS, PROFILE_NAME
from chromepool.model import Host, Reason, State
from chromepool.schema.admin import DrainView
from chromepool.schema.artifacts import AddScript, CaptureRequest
from chromepool.schema.history import JournalStatus
from chromepool.schema.limits import LimitsRequest, LimitsView


def _told(meaning: str) -> Meta:
    return Meta(description=meaning)


Seconds = Annotated[float, Meta(gt=0, le=30 * 86400)]
_Name = Annotated[str, Meta(min_length=1, max_length=63, description="Name of a label.")]
_Labels = Annotated[
    dict[_Name, Annotated[str, Meta(max_length=256)]],
    Meta(max_length=32, description="Whatever helps to find the session again."),
]
_END = r"$(?!\n)"
"""The end of a text: to Python, ``$`` alone is also before a line's end that ends it."""
_PRINTABLE = r"^[\x20-\x7e]+" + _END


class ViewportRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Size of every page, in CSS pixels."""

    width: Annotated[int, Meta(ge=1, le=10_000)]
    height: Annotated[int, Meta(ge=1, le=10_000)]
    device_scale_factor: Annotated[
        float, Meta(gt=0, le=8, description="Physical pixels per CSS pixel.")
    ] = 1.0
    mobile: Annotated[bool, _told("As on a phone: the page's viewport meta tag counts.")] = False


class CreateSession(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of ``POST /v1/sessions``; it may be left out, and so may each of its fields."""

    labels: _Labels = {}
    limits: LimitsRequest = msgspec.field(default_factory=LimitsRequest)
    idle_timeout_s: (
        Annotated[Seconds, Meta(description="Without a command; up to `longest_idle_timeout_s`.")]
        | None
    ) = None
    max_age_s: (
        Annotated[Seconds, Meta(description="Used or not; up to `max_age_s` of the operator.")]
        | None
    ) = None
    viewport: ViewportRequest | None = None
    user_agent: (
        Annotated[
            str,
            Meta(
                max_length=1024,
                pattern=_PRINTABLE,
                description="What pages and servers are told; printable ASCII.",
            ),
        ]
        | None
    ) = None
    locale: (
        Annotated[
            str,
            Meta(
                max_length=64,
                pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*" + _END,
                description="Such as `de-DE`: for pages' scripts, and as `Accept-Language`.",
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
                description="Such as `Europe/Berlin`: for pages' scripts.",
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
                description="`scheme://host:port` for all of its traffic, or `direct://`.",
            ),
        ]
        | None
    ) = None
    proxy_bypass: (
        Annotated[
            str,
            Meta(
                max_length=1024, description="Hosts reached without the proxy, separated by commas."
            ),
        ]
        | None
    ) = None
    ignore_certificate_errors: Annotated[bool, _told("Pages with bad certificates load.")] = False
    flags: Annotated[
        list[Annotated[str, Meta(max_length=1100, pattern=r"^--[a-z][a-z0-9-]*(=.*)?" + _END)]],
        Meta(max_length=MAX_FLAGS, description="More flags of Chrome."),
    ] = []
    profile: (
        Annotated[
            str,
            Meta(
                pattern=f"^{PROFILE_NAME}{_END}",
                description="One that is kept; up to 64 letters, digits, `.`, `_`, `-`.",
            ),
        ]
        | None
    ) = None
    downloads: (
        Annotated[
            Literal["allow", "deny"], _told("Whether files are saved; without it as Chrome does.")
        ]
        | None
    ) = None
    scripts: Annotated[
        list[AddScript],
        Meta(max_length=1000, description="Persistent scripts it has from its first document on."),
    ] = []
    capture: CaptureRequest | None = None
    console: Annotated[bool, Meta(description="Keep what its pages say.")] = False


class UsageView(msgspec.Struct):
    """What a session uses now, or had used when it ended; null where this machine cannot tell."""

    memory_bytes: Annotated[int, _told("Charged to its control group.")] | None
    memory_peak_bytes: Annotated[int, _told("The most that ever was.")] | None
    cpu_s: Annotated[float, _told("CPU time of all its processes.")] | None
    processes: Annotated[int, _told("That live now.")] | None
    files: Annotated[int, _told("Open in all its processes.")] | None
    oom_kills: Annotated[int, _told("Killed for its memory cap.")] | None
    pids_refused: Annotated[int, _told("Forks that the cap of processes refused.")] | None
    cpu_stall_s: Annotated[float, _told("Seconds for which some process waited for a CPU,")] | None
    memory_stall_s: Annotated[float, _told("for memory,")] | None
    io_stall_s: Annotated[float, _told("or for a disk (PSI, cgroup v2).")] | None
    cdp_messages_in: Annotated[int, _told("What clients sent.")]
    cdp_messages_out: Annotated[int, _told("To clients and the daemon.")]
    cdp_bytes_in: Annotated[int, _told("What clients sent.")]
    cdp_bytes_out: Annotated[int, _told("What Chrome said.")]


class CrashView(msgspec.Struct):
    """A tab that crashed while its session went on."""

    target_id: str
    status: Annotated[str, _told("In Chrome's words.")]
    reason: Annotated[Reason, _told("`crashed` or `out_of_memory`.")]


class ExitView(msgspec.Struct, omit_defaults=True):
    """How and why a session ended."""

    reason: Reason
    detail: Annotated[str, _told("The reason in words.")]
    code: Annotated[int, _told("Chrome's exit status.")] | None = None
    signal: Annotated[str, _told("The signal that killed Chrome.")] | None = None
    oom_kills: Annotated[int, _told("Killed for its memory cap.")] = 0
    stderr: Annotated[str, _told("The last 8 KiB that Chrome wrote to stderr.")] = ""


class SessionView(msgspec.Struct):
    """A session as the API shows it."""

    id: Annotated[str, _told("128 random bits in hex; the key to the session.")]
    number: Annotated[int, _told("What the log calls it.")]
    state: State
    webSocketDebuggerUrl: Annotated[str, _told("For clients.")]
    devtools_url: Annotated[str, _told("Base of its `/json/...` and `/devtools/...`.")]
    created_at: Annotated[datetime.datetime, _told("Asked for; of a warm Chrome: handed out.")]
    last_active_at: Annotated[datetime.datetime, _told("The last command, or what counts as one.")]
    expires_at: Annotated[datetime.datetime, _told("The first of its deadlines.")] | None
    ended_at: Annotated[datetime.datetime, _told("When nothing of it was left.")] | None
    labels: Annotated[dict[str, str], _told("As they were given.")]
    owner: Annotated[str, _told("`uid:N`, `token:NAME`, `tcp:ADDRESS` or `pool`.")]
    clients: Annotated[int, _told("WebSockets that are attached now.")]
    pid: Annotated[int, _told("Chrome's main process.")]
    warm: Annotated[bool, _told("Whether it began with a Chrome that was waiting.")]
    limits: LimitsView
    usage: UsageView
    options: Annotated[dict[str, Any], _told("Asked for, without labels and limits.")]
    crashes: Annotated[list[CrashView], _told("Tabs that crashed.")]
    exit: ExitView | None


class SessionList(msgspec.Struct):
    """``GET /v1/sessions``."""

    sessions: list[SessionView]


class WaiterView(msgspec.Struct):
    """A caller in the queue for a place."""

    place: Annotated[int, _told("1 is the next.")]
    owner: str
    labels: dict[str, str]
    waiting_s: Annotated[float, _told("Seconds it has waited.")]


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
    wanted: Annotated[int, _told("How many are wanted.")]
    taken: Annotated[int, _told("Handed out since the gateway started.")]


class BreakerView(msgspec.Struct):
    """Whether Chrome keeps failing to start."""

    open: bool
    pause_s: Annotated[float, _told("Seconds until the next start may be tried.")]
    failure: Annotated[str, _told("The last failure, in Chrome's words.")]


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

    tasks: Annotated[int, _told("What it has under way.")]
    restarts: Annotated[int, _told("Gateways there were before, since the daemon started.")]
    deaths: Annotated[int, _told("Those of them that died, or were ended because they hung.")]


class MemoryStatus(msgspec.Struct):
    """What there is for Chromes, in bytes; null where nothing can tell."""

    left_bytes: Annotated[int, _told("For another one.")] | None
    cap_bytes: Annotated[int, _told("The lowest cap of the control groups around them.")] | None


class StatusView(msgspec.Struct):
    """``GET /v1/status``."""

    version: str
    sessions: SessionPlaces
    queue: PlacesView
    warm: WarmView
    breaker: BreakerView
    limits: LimitsStatus
    host: Host
    stopping: Annotated[bool, _told("Whether the daemon stops.")]
    drain: DrainView
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
