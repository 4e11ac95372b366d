"""The API's types for sessions: what a caller may ask for, and what the API shows."""

import dataclasses
import typing
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chromepool.chrome_options import MAX_FLAGS, PROFILE_NAME
from chromepool.model import Limits, Reason, State
from chromepool.schema.artifacts import AddScript, CaptureRequest
from chromepool.schema.fields import END, Seconds, about

_Age = Annotated[float, Meta(gt=0, le=30 * 86400)]
_Labels = Annotated[
    dict[
        Annotated[str, about("Name of a label.", min_length=1, max_length=63)],
        Annotated[str, Meta(max_length=256)],
    ],
    about("Names and values by which to find the session.", max_length=32),
]
_UserAgent = Annotated[str, Meta(max_length=1024, pattern=r"^[\x20-\x7e]+" + END)]
_Locale = Annotated[
    str, Meta(max_length=64, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*" + END)
]
_Timezone = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*" + END)]
_Proxy = Annotated[str, Meta(max_length=256, pattern=r"^(https?|socks[45]|direct)://[^,\s]*" + END)]
_Hosts = Annotated[str, Meta(max_length=1024)]
_Flag = Annotated[str, Meta(max_length=1100, pattern=r"^--[a-z][a-z0-9-]*(=.*)?" + END)]
_Profile = Annotated[str, Meta(pattern=f"^{PROFILE_NAME}{END}")]


# -- limits, made from the fields of chromepool.model.Limits --

_LIMIT_TYPES = typing.get_type_hints(Limits)
_LIMITS = {field.name: field for field in dataclasses.fields(Limits)}
REQUESTABLE = tuple(name for name, field in _LIMITS.items() if field.metadata["requestable"])
"""Names of the limits that a session may ask for, and that the API shows."""


def _field(name: str, **bounds: Any) -> Any:
    """Return the type of a field, with the description of its limit."""
    return Annotated[_LIMIT_TYPES[name], Meta(description=_LIMITS[name].metadata["help"], **bounds)]


def _asked(name: str) -> tuple[str, Any, None]:
    """Return the field of a request: above 0 where the operator's 0 is no cap."""
    meta = _LIMITS[name].metadata
    low = {"ge": meta["low"]} if meta["low"] else {"gt": 0}
    return name, _field(name, **low, le=meta["high"]) | None, None


_Request: Any = msgspec.defstruct(
    "_Request", map(_asked, REQUESTABLE), forbid_unknown_fields=True, omit_defaults=True
)
_View: Any = msgspec.defstruct("_View", [(name, _field(name)) for name in REQUESTABLE])


class LimitsRequest(_Request):  # type: ignore[misc]
    """Limits that a session asks for, up to the operator's; a missing one is the operator's."""


class LimitsView(_View):  # type: ignore[misc]
    """The limits of a session, and whether the kernel enforces them."""

    enforced: Annotated[
        bool, Meta(description="True if control groups enforce the caps of memory and processes.")
    ]


# -- queries --


class CreateParams(msgspec.Struct, frozen=True):
    """Query of ``POST /v1/sessions``."""

    wait: Annotated[
        Seconds, about("Longest wait for a slot, in seconds; up to the setting `queue_wait_s`.")
    ] = "0"


class CreateHeaders(msgspec.Struct, frozen=True):
    """Headers of ``POST /v1/sessions``."""

    prefer: Annotated[str | msgspec.UnsetType, about("`wait=30` for `?wait=30` (RFC 7240).")] = (
        msgspec.field(default=msgspec.UNSET, name="Prefer")
    )


class ConnectParams(CreateParams, frozen=True):
    """Parameters of a connect-and-go URL that are not options of the session."""

    keepalive: Annotated[Seconds, about("Seconds that the session outlives its last client.")] = "0"


class ListParams(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/sessions``."""

    all: Annotated[
        Literal["0", "1", "true", "false"],
        about("`1` to include ended sessions and, for administrators, warm Chromes."),
    ] = "0"


# -- what a caller may ask for --


class ViewportRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Size of every page, in CSS pixels."""

    width: Annotated[int, about("Width in CSS pixels.", ge=1, le=10_000)]
    height: Annotated[int, about("Height in CSS pixels.", ge=1, le=10_000)]
    device_scale_factor: Annotated[float, about("Physical pixels per CSS pixel.", gt=0, le=8)] = 1.0
    mobile: Annotated[bool, about("Apply the viewport meta tag, as phones do.")] = False


class CreateSession(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Options of a new session; each has a default."""

    labels: _Labels = {}
    limits: LimitsRequest = msgspec.field(default_factory=LimitsRequest)
    idle_timeout_s: Annotated[
        _Age | None,
        about("Longest time without a CDP command, in seconds; up to `longest_idle_timeout_s`."),
    ] = None
    max_age_s: Annotated[
        _Age | None, about("Longest life of the session in seconds; up to the setting `max_age_s`.")
    ] = None
    viewport: ViewportRequest | None = None
    user_agent: Annotated[_UserAgent | None, about("User agent of pages; printable ASCII.")] = None
    locale: Annotated[_Locale | None, about("Locale of pages and requests, such as `de-DE`")] = None
    timezone: Annotated[_Timezone | None, about("Time zone, such as `Europe/Berlin`.")] = None
    proxy: Annotated[
        _Proxy | None, about("Proxy of all traffic, `scheme://host:port`; `direct://`: none.")
    ] = None
    proxy_bypass: Annotated[_Hosts | None, about("Hosts without proxy, comma-separated.")] = None
    ignore_certificate_errors: Annotated[bool, about("Ignore invalid certificates.")] = False
    flags: Annotated[
        list[_Flag], about("Chrome flags, of the allowed ones.", max_length=MAX_FLAGS)
    ] = []
    profile: Annotated[
        _Profile | None,
        about("Name of a profile that is kept; up to 64 letters, digits, `.`, `_` and `-`."),
    ] = None
    downloads: Annotated[
        Literal["allow", "deny"] | None,
        about("`allow` saves downloads, `deny` refuses them; null is Chrome's default."),
    ] = None
    scripts: Annotated[
        list[AddScript], about("Scripts that run from the first document on.", max_length=1000)
    ] = []
    capture: CaptureRequest | None = None
    console: Annotated[bool, about("Keep the console messages of the session's pages.")] = False


# -- what the API shows --


class UsageView(msgspec.Struct):
    """Resources used by a session; null where this machine does not measure one."""

    memory_bytes: Annotated[int | None, about("Memory charged to the session, in bytes.")]
    memory_peak_bytes: Annotated[int | None, about("Peak memory of the session, in bytes.")]
    cpu_s: Annotated[float | None, about("CPU time of all processes, in seconds.")]
    processes: Annotated[int | None, about("Number of live processes.")]
    files: Annotated[int | None, about("Open files of all processes.")]
    oom_kills: Annotated[int | None, about("Processes killed at the memory limit.")]
    pids_refused: Annotated[int | None, about("Forks refused at the process limit.")]
    cpu_stall_s: Annotated[float | None, about("Seconds of waiting for a CPU (PSI).")]
    memory_stall_s: Annotated[float | None, about("Seconds of waiting for memory (PSI).")]
    io_stall_s: Annotated[float | None, about("Seconds of waiting for a disk (PSI).")]
    cdp_messages_in: Annotated[int, about("CDP messages from clients.")]
    cdp_messages_out: Annotated[int, about("CDP messages from Chrome.")]
    cdp_bytes_in: Annotated[int, about("Bytes of CDP messages from clients.")]
    cdp_bytes_out: Annotated[int, about("Bytes of CDP messages from Chrome.")]


class CrashView(msgspec.Struct):
    """A crashed tab of a session that continued."""

    target_id: Annotated[str, about("Target id of the tab.")]
    status: Annotated[str, about("Status reported by Chrome.")]
    reason: Annotated[Reason, about("Cause of the crash: `crashed` or `out_of_memory`.")]


class ExitView(msgspec.Struct, omit_defaults=True):
    """End of a session."""

    reason: Reason
    detail: Annotated[str, about("Reason in words.")]
    code: Annotated[int | None, about("Exit status of Chrome.")] = None
    signal: Annotated[str | None, about("Signal that killed Chrome.")] = None
    oom_kills: Annotated[int, about("Processes killed at the memory limit.")] = 0
    stderr: Annotated[str, about("Last 8 KiB that Chrome wrote to stderr.")] = ""


class SessionView(msgspec.Struct):
    """A session."""

    id: Annotated[str, about("128 random bits in hex; the key to the session.")]
    number: Annotated[int, about("Number of the session in the daemon's log.")]
    state: State
    webSocketDebuggerUrl: Annotated[str, about("URL of the browser's WebSocket.")]
    devtools_url: Annotated[str, about("Base URL of `/json/...` and `/devtools/...`.")]
    created_at: Annotated[datetime, about("Time of creation, or of handing out a warm Chrome.")]
    last_active_at: Annotated[datetime, about("Time of the last activity, such as a CDP command.")]
    expires_at: Annotated[datetime | None, about("Earliest deadline; null without one.")]
    ended_at: Annotated[datetime | None, about("Time of the end; null before.")]
    labels: Annotated[dict[str, str], about("Labels given at creation.")]
    owner: Annotated[str, about("Owner: `uid:N`, `token:NAME`, `tcp:ADDRESS` or `pool`.")]
    clients: Annotated[int, about("Number of attached WebSockets.")]
    pid: Annotated[int, about("Process id of Chrome's main process.")]
    warm: Annotated[bool, about("True if the session began with a warm Chrome.")]
    limits: LimitsView
    usage: UsageView
    options: Annotated[dict[str, Any], about("Other options given at creation.")]
    crashes: Annotated[list[CrashView], about("Crashed tabs.")]
    exit: ExitView | None


class SessionList(msgspec.Struct):
    """Sessions of the caller."""

    sessions: Annotated[list[SessionView], about("Sessions in the order of their creation.")]
