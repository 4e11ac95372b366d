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
from chromepool.setting import GIB, MIB, fixed, parse_value, setting

DEFAULT_FILE = Path("/etc/chromepool/chromepool.yaml")

_LONGEST_S = 30 * 86400
"""Upper bound of a session's times, a month: longer than any Chrome should live."""
_LARGEST_UID = 4_000_000_000
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
    runtime_dir: str = fixed(
        "", "Folder of the control socket; empty: below /run, or the user's runtime folder."
    )
    state_dir: str = fixed(
        "", "Folder of the profiles; empty: below /var/lib, or the user's state folder."
    )
    chrome: str = fixed(
        "", "Path of Chrome; empty: the headless shell if there is one, else any Chrome."
    )
    no_sandbox: bool = fixed(
        False,
        "Run Chrome without its sandbox: a page that breaks a renderer owns the session's uid.",
    )
    allowed_flags: str = setting(
        "", "Further Chrome flags that sessions may set, comma-separated names."
    )
    max_sessions: int = setting(
        10, "Maximum number of sessions at once.", low=1, high=10_000, alias="MAX_SESSIONS"
    )
    warm_sessions: int = setting(
        1, "Number of warm Chromes kept ready, within max_sessions.", high=1000
    )
    idle_timeout_s: float = setting(
        1800.0,
        "Idle timeout: time without a CDP command that ends a session, in seconds; 0: none.",
        high=_LONGEST_S,
        alias="SESSION_TIMEOUT",
        alias_unit=0.001,
    )
    longest_idle_timeout_s: float = setting(
        86400.0, "Upper limit of a session's idle timeout, in seconds.", low=1, high=_LONGEST_S
    )
    max_age_s: float = setting(
        0.0, "Longest life of a session, used or not, in seconds; 0: no limit.", high=_LONGEST_S
    )
    creations_per_minute: float = setting(
        5.0, "Sessions that one client may create per minute; 0: no limit.", high=60_000
    )
    queue_length: int = setting(
        100, "Maximum number of callers that wait for a slot at once.", high=10_000
    )
    queue_wait_s: float = setting(
        60.0, "Longest time that a caller may wait for a slot, in seconds.", high=3600
    )
    start_attempts: int = setting(
        2, "Number of times that the start of a Chrome is tried.", low=1, high=10
    )
    breaker_failures: int = setting(
        5, "Failed starts in a row that stop further starts for breaker_pause_s.", low=1
    )
    breaker_pause_s: float = setting(
        30.0, "Pause after breaker_failures failures, in seconds.", low=0.1, high=3600
    )
    session_need_bytes: int = setting(
        128 * MIB, "Free memory that one more Chrome needs to start, in bytes.", size=True
    )
    session_limits: Limits = dataclasses.field(default_factory=Limits)
    """Limits of a session that asks for none, and the most that one may ask for. Each is a setting
    of its own, ``session_`` and the limit's name."""
    pool_memory_bytes: int = fixed(
        GIB, "Hard memory cap of all sessions together, in bytes.", low=128 * MIB, size=True
    )
    kept_profiles: int = setting(
        20, "Kept profiles of one owner; each uses up a uid.", high=100_000
    )
    uid_base: int = fixed(
        60600, "First uid of the range that sessions run as (root only).", low=1, high=_LARGEST_UID
    )
    uid_count: int = fixed(
        512, "Number of uids in the range that begins with uid_base.", low=1, high=100_000
    )
    gateway_uid: int = fixed(
        60599, "User and group id that the gateway runs as (root only).", low=1, high=_LARGEST_UID
    )
    start_timeout_s: float = setting(
        30.0, "Time for Chrome to give its first CDP answer, in seconds.", low=0.1
    )
    close_timeout_s: float = setting(
        3.0, "Time for Chrome to close by itself before SIGTERM, in seconds."
    )
    term_timeout_s: float = setting(
        2.0, "Time for Chrome to exit between SIGTERM and SIGKILL, in seconds."
    )
    shutdown_timeout_s: float = setting(
        30.0, "Time for the daemon to end all sessions and exit, in seconds.", low=0.1
    )
    max_message_bytes: int = setting(
        64 * MIB, "Largest CDP message from a client, in bytes.", low=MIB, size=True
    )
    max_clients: int = setting(
        32, "Maximum number of WebSockets on one session at once.", low=1, high=10_000
    )
    client_buffer_bytes: int = setting(
        32 * MIB, "Unread data that gets a slow client disconnected, in bytes.", low=MIB, size=True
    )
    max_body_bytes: int = fixed(
        MIB, "Largest body of a control API request, in bytes.", low=1024, size=True
    )
    allowed_hosts: str = setting("", "Further host names of the endpoint, comma-separated; *: any.")
    allowed_origins: str = setting(
        "", "Origins of web pages that may open WebSockets, comma-separated; *: any."
    )
    tokens_file: str = setting(
        "", "File of `name token` lines; with it, creating a session over TCP needs a token."
    )
    require_token: bool = setting(
        False, "Require a token on the DevTools routes of a session as well."
    )
    control_tcp: bool = fixed(
        False, "Offer the control API on the DevTools address as well; a token is then required."
    )
    metrics_tcp: bool = fixed(
        False, "Offer /metrics on the DevTools address as well, without a token."
    )
    socket_mode: str = fixed(
        "", "Octal mode of the control socket; empty: 0666 (every user) for root, else 0600."
    )
    group: str = fixed(
        "", "Group whose members see and end every session, like root and the daemon's user."
    )
    max_scripts: int = setting(
        50,
        "Maximum number of persistent scripts of one session.",
        high=10_000,
        alias="MAX_PERSISTENT_SCRIPTS",
    )
    max_script_bytes: int = setting(
        20 * 1024, "Longest persistent script, in bytes.", low=1, size=True, alias="MAX_SCRIPT_SIZE"
    )
    response_store_items: int = setting(100, "Responses kept for one session.", low=1, high=100_000)
    response_store_bytes: int = setting(
        32 * MIB, "Responses kept for one session, in bytes.", low=MIB, size=True
    )
    response_store_ttl_s: float = setting(
        300.0,
        "Time for which a response is kept, in seconds.",
        low=1,
        high=_LONGEST_S,
        alias="RESPONSE_STORE_TTL",
        alias_unit=0.001,
    )
    response_body_bytes: int = setting(
        4 * MIB, "Largest response body that is kept, in bytes.", size=True
    )
    console_messages: int = setting(
        1000, "Console messages kept for one session.", low=1, high=100_000
    )
    download_bytes: int = setting(
        100 * MIB, "Largest download, in bytes; a larger one is cancelled.", size=True
    )
    ping_interval_s: float = setting(
        30.0,
        "Pause between WebSocket pings, in seconds; 0: none. Two missed pings drop a client.",
        high=86400,
    )
    health_interval_s: float = setting(
        30.0, "Pause between health checks of a Chrome, in seconds.", low=0.1, high=86400
    )
    health_timeout_s: float = setting(
        10.0, "Time for Chrome to answer a health check, in seconds.", low=0.1, high=3600
    )
    heartbeat_timeout_s: float = setting(
        10.0,
        "Time without a heartbeat that gets the gateway replaced, in seconds.",
        low=0.5,
        high=3600,
    )
    fd_store: bool = fixed(
        False, "Store running sessions with systemd, so that they outlive the daemon too."
    )
    canary_interval_s: float = fixed(
        0.0, "Pause between scheduled canaries, in seconds; 0: none.", high=86400
    )
    alert_memory_percent: float = setting(
        80.0, "Memory use that raises an alert, in percent of pool_memory_bytes.", low=20, high=100
    )
    alert_sessions_percent: float = setting(
        80.0, "Sessions that raise an alert, in percent of max_sessions.", low=20, high=100
    )
    alert_crashes: int = setting(
        5, "Number of crashed sessions within five minutes that raises an alert.", low=1
    )
    webhook_url: str = setting("", "URL (http or https) that alerts are sent to.")
    webhook_secret_file: str = setting(
        "", "File with the key that signs the requests to webhook_url."
    )
    dynamic_limits: bool = setting(
        False, "Let the load set the number of admitted sessions and of warm Chromes."
    )
    dynamic_floor: int = setting(
        1, "Minimum number of sessions admitted with dynamic_limits.", low=1, high=10_000
    )
    warm_most: int = setting(5, "Maximum number of warm Chromes with dynamic_limits.", high=1000)
    journal: bool = fixed(True, "Keep the history of sessions and events in a database on disk.")
    journal_sessions: int = setting(
        10_000, "Maximum number of sessions in the history.", low=1, high=1_000_000
    )
    journal_days: float = setting(
        30.0, "Time for which a session stays in the history, in days.", low=0.01, high=3650
    )
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
