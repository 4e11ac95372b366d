"""Every setting of chromepool, declared once.

From :class:`Settings` come the YAML file's keys, the environment variables (``CHROMEPOOL_`` and
the name in capitals, plus the short names some settings have), the flags of ``chromepool serve``
and the reference page. :mod:`chromepool.config_sources` reads them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from chromepool.model import Limits
from chromepool.setting import GIB, MIB, fixed, parse_value, seconds, setting, size

DEFAULT_FILE = Path("/etc/chromepool/chromepool.yaml")

_LONGEST_S = 30 * 86400
"""Upper bound of a session's times, a month: longer than any Chrome should live."""
_MAX_UID = 4_000_000_000
"""Upper bound of uids, which have 32 bits; setresuid(2) takes the last one for "no change"."""


def default_runtime_dir() -> str:
    """Return the folder of the control socket: below /run for root, else the user's."""
    if os.geteuid() == 0:
        return "/run/chromepool"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/chromepool" if base else f"/tmp/chromepool-{os.geteuid()}"


def default_state_dir() -> str:
    """Return the folder of the profiles: below /var/lib for root, else the user's."""
    if os.geteuid() == 0:
        return "/var/lib/chromepool"
    base = os.environ.get("XDG_STATE_HOME")
    return str((Path(base) if base else Path.home() / ".local" / "state") / "chromepool")


def _flat(rows: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the row ``session_limits`` by one row ``session_<limit>`` for each limit."""
    found: dict[str, Any] = {}
    for name, row in rows.items():
        if name == "session_limits":
            found |= {f"session_{limit}": each for limit, each in limits.items()}
        else:
            found[name] = row
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a running daemon; times in seconds, sizes in bytes."""

    host: str = fixed("127.0.0.1", "Address that the DevTools endpoint listens on.")
    port: int = fixed(9222, "Port of the DevTools endpoint; 0 picks a free one.", high=65535)
    runtime_dir: str = fixed("", "Folder of the control socket; empty: in /run or XDG_RUNTIME_DIR.")
    state_dir: str = fixed("", "Folder of profiles; empty: in /var/lib or the user's state folder.")
    chrome: str = fixed("", "Path of Chrome; empty: the headless shell, or else any Chrome.")
    no_sandbox: bool = fixed(
        False, "Run Chrome unsandboxed: a page that breaks a renderer owns the session's uid."
    )
    allowed_flags: str = setting("", "Further Chrome flags that sessions may set, comma-separated.")
    max_sessions: int = setting(
        10, "Maximum number of sessions at once.", low=1, high=10_000, alias="MAX_SESSIONS"
    )
    warm_sessions: int = setting(1, "Warm Chromes kept ready, within max_sessions.", high=1000)
    idle_timeout_s: float = seconds(
        1800.0,
        "Idle timeout: time without a CDP command that ends a session; 0: none.",
        high=_LONGEST_S,
        alias="SESSION_TIMEOUT",
    )
    longest_idle_timeout_s: float = seconds(
        86400.0, "Upper limit of a session's idle timeout.", low=1, high=_LONGEST_S
    )
    max_age_s: float = seconds(
        0.0, "Longest life of a session, used or not; 0: no limit.", high=_LONGEST_S
    )
    creations_per_minute: float = setting(
        5.0, "Sessions that one client may create per minute; 0: no limit.", high=60_000
    )
    queue_length: int = setting(100, "Maximum number of callers that wait for a slot.", high=10_000)
    queue_wait_s: float = seconds(60.0, "Longest time a caller may wait for a slot.", high=3600)
    start_attempts: int = setting(2, "Number of tries to start a Chrome.", low=1, high=10)
    breaker_failures: int = setting(5, "Failed starts in a row after which starts pause.", low=1)
    breaker_pause_s: float = seconds(
        30.0, "Pause of starts after breaker_failures failed ones.", low=0.1, high=3600
    )
    session_need_bytes: int = size(128 * MIB, "Free memory that one more Chrome needs to start.")
    session_limits: Limits = dataclasses.field(default_factory=Limits)
    """Limits of a session that asks for none, and the most that one may ask for. Each is a setting
    of its own, ``session_`` and the limit's name."""
    pool_memory_bytes: int = size(
        GIB, "Hard memory cap of all sessions together.", low=128 * MIB, live=False
    )
    kept_profiles: int = setting(20, "Kept profiles of one owner; each uses a uid.", high=100_000)
    uid_base: int = fixed(
        60600, "First uid of those that sessions run as (root only).", low=1, high=_MAX_UID
    )
    uid_count: int = fixed(512, "Number of uids from uid_base on.", low=1, high=100_000)
    gateway_uid: int = fixed(60599, "Uid and gid of the gateway (root only).", low=1, high=_MAX_UID)
    start_timeout_s: float = seconds(30.0, "Time for Chrome to give its first CDP answer.", low=0.1)
    close_timeout_s: float = seconds(3.0, "Time for Chrome to close by itself before SIGTERM.")
    term_timeout_s: float = seconds(2.0, "Time for Chrome to exit between SIGTERM and SIGKILL.")
    shutdown_timeout_s: float = seconds(30.0, "Time for the daemon to end all sessions.", low=0.1)
    max_message_bytes: int = size(64 * MIB, "Largest CDP message from a client.", low=MIB)
    max_clients: int = setting(32, "WebSockets that one session may have.", low=1, high=10_000)
    client_buffer_bytes: int = size(
        32 * MIB, "Unread data after which a slow client is dropped.", low=MIB
    )
    max_body_bytes: int = size(MIB, "Largest body of a control API request.", low=1024, live=False)
    allowed_hosts: str = setting("", "Further host names of the endpoint, comma-separated; *: any.")
    allowed_origins: str = setting("", "Origins that may open WebSockets, comma-separated; *: any.")
    tokens_file: str = setting(
        "", "File of `name token` lines; with it, creating a session over TCP needs a token."
    )
    require_token: bool = setting(False, "Require a token on the DevTools routes of a session too.")
    control_tcp: bool = fixed(
        False, "Offer the control API on the DevTools address as well; a token is then required."
    )
    metrics_tcp: bool = fixed(False, "Offer /metrics on the DevTools address too, without a token.")
    socket_mode: str = fixed(
        "", "Octal mode of the control socket; empty: 0666 (every user) for root, else 0600."
    )
    group: str = fixed("", "Group whose members see and end every session, like root.")
    max_scripts: int = setting(
        50, "Persistent scripts of one session.", high=10_000, alias="MAX_PERSISTENT_SCRIPTS"
    )
    max_script_bytes: int = size(
        20 * 1024, "Longest persistent script.", low=1, alias="MAX_SCRIPT_SIZE"
    )
    response_store_items: int = setting(100, "Responses kept for one session.", low=1, high=100_000)
    response_store_bytes: int = size(
        32 * MIB, "Size of the responses kept for one session.", low=MIB
    )
    response_store_ttl_s: float = seconds(
        300.0, "Time that a response is kept.", low=1, high=_LONGEST_S, alias="RESPONSE_STORE_TTL"
    )
    response_body_bytes: int = size(4 * MIB, "Largest response body that is kept.")
    console_messages: int = setting(1000, "Console messages kept per session.", low=1, high=100_000)
    download_bytes: int = size(100 * MIB, "Largest download; a larger one is cancelled.")
    ping_interval_s: float = seconds(
        30.0, "Pause between WebSocket pings; 0: none. Two missed pings drop a client.", high=86400
    )
    health_interval_s: float = seconds(30.0, "Pause between health checks.", low=0.1, high=86400)
    health_timeout_s: float = seconds(10.0, "Time to answer a health check.", low=0.1, high=3600)
    heartbeat_timeout_s: float = seconds(
        10.0, "Time without a heartbeat that gets the gateway replaced.", low=0.5, high=3600
    )
    fd_store: bool = fixed(False, "Store sessions with systemd, so that they outlive the daemon.")
    canary_interval_s: float = seconds(
        0.0, "Pause between scheduled canaries; 0: none.", high=86400, live=False
    )
    alert_memory_percent: float = setting(
        80.0, "Memory use that raises an alert, in percent of pool_memory_bytes.", low=20, high=100
    )
    alert_sessions_percent: float = setting(
        80.0, "Sessions that raise an alert, in percent of max_sessions.", low=20, high=100
    )
    alert_crashes: int = setting(5, "Session crashes in five minutes that raise an alert.", low=1)
    webhook_url: str = setting("", "URL (http or https) that alerts are sent to.")
    webhook_secret_file: str = setting("", "File with the key that signs requests to webhook_url.")
    dynamic_limits: bool = setting(False, "Adapt admitted sessions and warm Chromes to the load.")
    dynamic_floor: int = setting(
        1, "Fewest sessions that dynamic_limits admits.", low=1, high=10_000
    )
    warm_most: int = setting(5, "Maximum number of warm Chromes with dynamic_limits.", high=1000)
    journal: bool = fixed(True, "Keep the history of sessions and events in a database on disk.")
    journal_sessions: int = setting(10_000, "Sessions kept in the history.", low=1, high=1_000_000)
    journal_days: float = setting(30.0, "Days a session stays in the history.", low=0.01, high=3650)
    log_level: str = setting("info", "Lowest level that is logged: debug, info, warning or error.")

    def values(self) -> dict[str, Any]:
        """Return the value of every setting by its name."""
        rows = dataclasses.asdict(self)
        return _flat(rows, rows["session_limits"])

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings with these values; a setting that is missing has its default."""
        names = {f"session_{field.name}": field.name for field in dataclasses.fields(Limits)}
        limits = {names[name]: value for name, value in values.items() if name in names}
        rest = {name: value for name, value in values.items() if name not in names}
        return cls(session_limits=Limits(**limits), **rest)

    @property
    def control_socket(self) -> Path:
        """Path of the control API's Unix socket."""
        return Path(self.runtime_dir) / "control.sock"

    @property
    def profiles_dir(self) -> Path:
        """Folder in which every session has a profile folder."""
        return Path(self.state_dir) / "profiles"

    @property
    def kept_profiles_dir(self) -> Path:
        """Folder of the kept profiles, with one folder for each owner."""
        return Path(self.state_dir) / "kept"

    @property
    def history_dir(self) -> Path:
        """Folder of the history's database: the only one on disk the gateway writes to."""
        return Path(self.state_dir) / "journal"

    @property
    def control_socket_mode(self) -> int:
        """Mode of the control socket. Without root every Chrome runs as the daemon's user, so only
        that user may open the socket."""
        return int(self.socket_mode or ("0666" if os.geteuid() == 0 else "0600"), 8)


FIELDS: dict[str, dataclasses.Field[Any]] = _flat(
    {field.name: field for field in dataclasses.fields(Settings)},
    {field.name: field for field in dataclasses.fields(Limits)},
)
"""Name of each setting and its declaration."""
TYPES: dict[str, type] = _flat(get_type_hints(Settings), get_type_hints(Limits))
"""Name of each setting and the type of its value."""


def flag_of(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def env_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return "CHROMEPOOL_" + name.upper()


def parse(name: str, value: Any) -> Any:
    """Parse a value of a setting; the ValueError completes a sentence that begins with it."""
    return parse_value(TYPES[name], FIELDS[name].metadata, value)


def merge_live(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """Return the settings after a reload, and the names of those that only a restart can change."""
    before, after = old.values(), new.values()
    changed = [name for name in FIELDS if before[name] != after[name]]
    live = {name: after[name] for name in changed if FIELDS[name].metadata["live"]}
    return Settings.from_values(before | live), [name for name in changed if name not in live]
