"""The API's types for sessions: what a caller may ask for, and what the API shows."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chromepool.chrome_options import MAX_FLAGS, PROFILE_NAME
from chromepool.model import Reason, State
from chromepool.schema.artifacts import AddScript, CaptureRequest
from chromepool.schema.fields import END, about
from chromepool.schema.limits import LimitsRequest, LimitsView
from chromepool.schema.parameters import Seconds

_Age = Annotated[float, Meta(gt=0, le=30 * 86400)]
_Labels = Annotated[
    dict[
        Annotated[str, about("Name of a label.", min_length=1, max_length=63)],
        Annotated[str, Meta(max_length=256)],
    ],
    about("Names and values by which to find the session.", max_length=32),
]
_PRINTABLE = r"^[\x20-\x7e]+" + END


# -- queries --


class CreateParams(msgspec.Struct, frozen=True):
    """Query of ``POST /v1/sessions``."""

    wait: Annotated[
        Seconds,
        about(
            "Longest time to wait for a free slot, in seconds; up to the setting `queue_wait_s`."
        ),
    ] = "0"


class CreateHeaders(msgspec.Struct, frozen=True):
    """Headers of ``POST /v1/sessions``."""

    prefer: Annotated[
        str | msgspec.UnsetType,
        about("`wait=30` has the effect of `?wait=30` (RFC 7240)."),
    ] = msgspec.field(default=msgspec.UNSET, name="Prefer")


class ConnectParams(CreateParams, frozen=True):
    """Parameters of a connect-and-go URL that are not options of the session."""

    keepalive: Annotated[
        Seconds, about("Time for which the session outlives its last client, in seconds.")
    ] = "0"


class ListParams(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/sessions``."""

    all: Annotated[
        Literal["0", "1", "true", "false"],
        about("`1` for ended sessions as well, and for administrators warm Chromes."),
    ] = "0"


# -- what a caller may ask for --


class ViewportRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Size of every page, in CSS pixels."""

    width: Annotated[int, about("Width in CSS pixels.", ge=1, le=10_000)]
    height: Annotated[int, about("Height in CSS pixels.", ge=1, le=10_000)]
    device_scale_factor: Annotated[
        float, about("Physical pixels for each CSS pixel.", gt=0, le=8)
    ] = 1.0
    mobile: Annotated[
        bool, about("Emulate a phone: the viewport meta tag of pages has an effect.")
    ] = False


class CreateSession(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Options of a new session; each has a default."""

    labels: _Labels = {}
    limits: LimitsRequest = msgspec.field(default_factory=LimitsRequest)
    idle_timeout_s: (
        Annotated[
            _Age,
            about(
                "Seconds without a CDP command after which the session ends; up to the setting "
                "`longest_idle_timeout_s`."
            ),
        ]
        | None
    ) = None
    max_age_s: (
        Annotated[
            _Age,
            about(
                "Seconds after which the session ends, used or not; up to the setting `max_age_s`."
            ),
        ]
        | None
    ) = None
    viewport: ViewportRequest | None = None
    user_agent: (
        Annotated[
            str,
            about(
                "User agent that pages and servers see; printable ASCII.",
                max_length=1024,
                pattern=_PRINTABLE,
            ),
        ]
        | None
    ) = None
    locale: (
        Annotated[
            str,
            about(
                "Locale of scripts and of `Accept-Language`, such as `de-DE`.",
                max_length=64,
                pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*" + END,
            ),
        ]
        | None
    ) = None
    timezone: (
        Annotated[
            str,
            about(
                "Time zone of scripts, such as `Europe/Berlin`.",
                max_length=64,
                pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*" + END,
            ),
        ]
        | None
    ) = None
    proxy: (
        Annotated[
            str,
            about(
                "Proxy of all traffic, `scheme://host:port`, or `direct://` for none.",
                max_length=256,
                pattern=r"^(https?|socks[45]|direct)://[^,\s]*" + END,
            ),
        ]
        | None
    ) = None
    proxy_bypass: (
        Annotated[
            str,
            about("Hosts reached without the proxy, separated by commas.", max_length=1024),
        ]
        | None
    ) = None
    ignore_certificate_errors: Annotated[
        bool, about("Load pages whose certificates are invalid.")
    ] = False
    flags: Annotated[
        list[Annotated[str, Meta(max_length=1100, pattern=r"^--[a-z][a-z0-9-]*(=.*)?" + END)]],
        about("More flags for Chrome, from the list of allowed ones.", max_length=MAX_FLAGS),
    ] = []
    profile: (
        Annotated[
            str,
            about(
                "Name of a profile that is kept between sessions; up to 64 letters, digits, `.`, "
                "`_` and `-`.",
                pattern=f"^{PROFILE_NAME}{END}",
            ),
        ]
        | None
    ) = None
    downloads: (
        Annotated[
            Literal["allow", "deny"],
            about("`allow` saves downloads, `deny` refuses them; null is Chrome's default."),
        ]
        | None
    ) = None
    scripts: Annotated[
        list[AddScript],
        about("Persistent scripts that run from the first document on.", max_length=1000),
    ] = []
    capture: CaptureRequest | None = None
    console: Annotated[bool, about("Keep the console messages of the session's pages.")] = False


# -- what the API shows --


class UsageView(msgspec.Struct):
    """Resources used by a session; null where this machine does not measure one."""

    memory_bytes: Annotated[int, about("Memory charged to the session, in bytes.")] | None
    memory_peak_bytes: (
        Annotated[int, about("Most memory ever charged to the session, in bytes.")] | None
    )
    cpu_s: Annotated[float, about("CPU time of all processes, in seconds.")] | None
    processes: Annotated[int, about("Number of live processes.")] | None
    files: Annotated[int, about("Open files of all processes.")] | None
    oom_kills: Annotated[int, about("Processes killed at the memory limit.")] | None
    pids_refused: Annotated[int, about("Forks refused at the process limit.")] | None
    cpu_stall_s: (
        Annotated[float, about("Seconds in which a process waited for a CPU (PSI).")] | None
    )
    memory_stall_s: (
        Annotated[float, about("Seconds in which a process waited for memory (PSI).")] | None
    )
    io_stall_s: (
        Annotated[float, about("Seconds in which a process waited for a disk (PSI).")] | None
    )
    cdp_messages_in: Annotated[int, about("CDP messages from clients to Chrome.")]
    cdp_messages_out: Annotated[int, about("CDP messages from Chrome to clients and the daemon.")]
    cdp_bytes_in: Annotated[int, about("Bytes of CDP messages from clients to Chrome.")]
    cdp_bytes_out: Annotated[
        int, about("Bytes of CDP messages from Chrome to clients and the daemon.")
    ]


class CrashView(msgspec.Struct):
    """A crashed tab of a session that continued."""

    target_id: Annotated[str, about("Target id of the tab.")]
    status: Annotated[str, about("Status reported by Chrome.")]
    reason: Annotated[Reason, about("Cause of the crash: `crashed` or `out_of_memory`.")]


class ExitView(msgspec.Struct, omit_defaults=True):
    """End of a session."""

    reason: Reason
    detail: Annotated[str, about("Reason in words.")]
    code: Annotated[int, about("Exit status of Chrome.")] | None = None
    signal: Annotated[str, about("Signal that killed Chrome.")] | None = None
    oom_kills: Annotated[int, about("Processes killed at the memory limit.")] = 0
    stderr: Annotated[str, about("Last 8 KiB that Chrome wrote to stderr.")] = ""


class SessionView(msgspec.Struct):
    """A session."""

    id: Annotated[str, about("128 random bits in hex; the key to the session.")]
    number: Annotated[int, about("Number of the session in the daemon's log.")]
    state: State
    webSocketDebuggerUrl: Annotated[
        str, about("WebSocket URL of the session's browser, for DevTools clients.")
    ]
    devtools_url: Annotated[str, about("Base URL of `/json/...` and `/devtools/...`.")]
    created_at: Annotated[
        datetime.datetime,
        about("Time of creation; for a warm Chrome, the time at which it was handed out."),
    ]
    last_active_at: Annotated[
        datetime.datetime, about("Time of the last CDP command, or of what counts as one.")
    ]
    expires_at: (
        Annotated[
            datetime.datetime, about("Earliest deadline of the session; null if it has none.")
        ]
        | None
    )
    ended_at: (
        Annotated[
            datetime.datetime, about("Time at which nothing of the session was left; null before.")
        ]
        | None
    )
    labels: Annotated[dict[str, str], about("Labels given at creation.")]
    owner: Annotated[
        str, about("Owner: `uid:N`, `token:NAME`, `tcp:ADDRESS`, or `pool` for a warm Chrome.")
    ]
    clients: Annotated[int, about("Number of attached WebSockets.")]
    pid: Annotated[int, about("Process id of Chrome's main process.")]
    warm: Annotated[bool, about("True if the session began with a warm Chrome.")]
    limits: LimitsView
    usage: UsageView
    options: Annotated[
        dict[str, Any], about("Options given at creation, without labels, limits and scripts.")
    ]
    crashes: Annotated[list[CrashView], about("Crashed tabs.")]
    exit: ExitView | None


class SessionList(msgspec.Struct):
    """Sessions of the caller."""

    sessions: Annotated[list[SessionView], about("Sessions in the order of their creation.")]
