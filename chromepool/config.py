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
from chromepool.setting import GIB, MIB, parse_value, setting

DEFAULT_FILE = Path("/etc/chromepool/chromepool.yaml")

_LONGEST_S = 30 * 86400
"""A month: longer than any Chrome should live."""
_LARGEST_UID = 4_000_000_000
"""uids have 32 bits, and the last one means "stay who you are" to setresuid(2)."""


def default_runtime_dir() -> str:
    """Where the control socket lies: ``/run`` for root, the user's runtime folder otherwise."""
    if os.geteuid() == 0:
        return "/run/chromepool"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/chromepool" if base else f"/tmp/chromepool-{os.geteuid()}"


def default_state_dir() -> str:
    """Where profiles lie: ``/var/lib`` for root, the user's state folder otherwise."""
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

    host: str = setting("127.0.0.1", "Address of the DevTools endpoint.")
    port: int = setting(9222, "Port of the DevTools endpoint; 0 picks a free one.", high=65535)
    runtime_dir: str = setting("", "Folder of the control socket; empty: /run or the user's own.")
    state_dir: str = setting("", "Folder of the profiles; empty: /var/lib or the user's own.")
    chrome: str = setting("", "Path of Chrome; empty: the headless shell, else any that is found.")
    no_sandbox: bool = setting(
        False, "Run Chrome without its sandbox. Any page that breaks a renderer then owns its uid."
    )
    allowed_flags: str = setting(
        "", "More Chrome flags sessions may ask for, names separated by commas.", live=True
    )
    max_sessions: int = setting(
        10, "Sessions at once.", low=1, high=10_000, alias="MAX_SESSIONS", live=True
    )
    warm_sessions: int = setting(
        1, "Chromes started ahead, within max_sessions.", high=1000, live=True
    )
    idle_timeout_s: float = setting(
        1800.0,
        "A session ends after this long without a CDP command; 0 is never.",
        high=_LONGEST_S,
        alias="SESSION_TIMEOUT",
        alias_unit=0.001,
        live=True,
    )
    longest_idle_timeout_s: float = setting(
        86400.0,
        "The longest idle timeout a session may ask for.",
        low=1,
        high=_LONGEST_S,
        live=True,
    )
    max_age_s: float = setting(
        0.0,
        "The longest life of a session, used or not; 0 is no limit.",
        high=_LONGEST_S,
        live=True,
    )
    creations_per_minute: float = setting(
        5.0, "Sessions one client may create in a minute; 0 is no limit.", high=60_000, live=True
    )
    queue_length: int = setting(
        100, "Callers that may wait for a place at once.", high=10_000, live=True
    )
    queue_wait_s: float = setting(
        60.0, "The longest that a caller may wait for a place.", high=3600, live=True
    )
    start_attempts: int = setting(
        2, "How often the start of a Chrome is tried.", low=1, high=10, live=True
    )
    breaker_failures: int = setting(
        5, "Failed starts in a row after which none is tried for a while.", low=1, live=True
    )
    breaker_pause_s: float = setting(30.0, "How long none is tried.", low=0.1, high=3600, live=True)
    session_need_bytes: int = setting(
        128 * MIB, "Memory that must be free for one more Chrome.", size=True, live=True
    )
    session_limits: Limits = dataclasses.field(default_factory=Limits)
    """Limits of a session that asks for none, and the most that one may ask for. Each is a setting
    of its own, ``session_`` and the limit's name."""
    pool_memory_bytes: int = setting(
        GIB, "Hard memory cap of all sessions together.", low=128 * MIB, size=True
    )
    kept_profiles: int = setting(
        20, "Kept profiles one owner may have; each takes a uid for good.", high=100_000, live=True
    )
    uid_base: int = setting(
        60600, "First uid of the range sessions run as (root only).", low=1, high=_LARGEST_UID
    )
    uid_count: int = setting(512, "How many uids that range has.", low=1, high=100_000)
    gateway_uid: int = setting(
        60599, "uid and gid the gateway runs as (root only).", low=1, high=_LARGEST_UID
    )
    start_timeout_s: float = setting(
        30.0, "Time Chrome has for its first CDP answer.", low=0.1, live=True
    )
    close_timeout_s: float = setting(3.0, "Time Chrome has to close before SIGTERM.", live=True)
    term_timeout_s: float = setting(2.0, "Time Chrome has after SIGTERM before SIGKILL.", live=True)
    shutdown_timeout_s: float = setting(30.0, "Time the daemon has to stop.", low=0.1, live=True)
    max_message_bytes: int = setting(
        64 * MIB, "Largest CDP message taken from a client.", low=MIB, size=True, live=True
    )
    max_clients: int = setting(
        32, "WebSockets on one session at once.", low=1, high=10_000, live=True
    )
    client_buffer_bytes: int = setting(
        32 * MIB, "Bytes kept for a client that reads too slowly.", low=MIB, size=True, live=True
    )
    max_body_bytes: int = setting(MIB, "Largest body of a control request.", low=1024, size=True)
    allowed_hosts: str = setting(
        "", "More host names the endpoint answers to, separated by commas; * is any.", live=True
    )
    allowed_origins: str = setting(
        "",
        "Origins of web pages that may open WebSockets, separated by commas; * is any.",
        live=True,
    )
    tokens_file: str = setting(
        "",
        "File of `name token` lines; without one of them no session is made over TCP.",
        live=True,
    )
    require_token: bool = setting(
        False, "Ask for a token on a session's DevTools routes, too.", live=True
    )
    control_tcp: bool = setting(
        False, "Offer the control API on the DevTools address as well, with a token."
    )
    metrics_tcp: bool = setting(
        False, "Offer /metrics on the DevTools address as well, without a token."
    )
    socket_mode: str = setting(
        "", "Mode of the control socket; empty: 0666 for root (each sees their own), else 0600."
    )
    group: str = setting(
        "", "Group whose members see and end every session, as root and the daemon's user do."
    )
    max_scripts: int = setting(
        50,
        "Persistent scripts of one session.",
        high=10_000,
        alias="MAX_PERSISTENT_SCRIPTS",
        live=True,
    )
    max_script_bytes: int = setting(
        20 * 1024,
        "Longest persistent script.",
        low=1,
        size=True,
        alias="MAX_SCRIPT_SIZE",
        live=True,
    )
    response_store_items: int = setting(
        100, "Responses kept for one session.", low=1, high=100_000, live=True
    )
    response_store_bytes: int = setting(
        32 * MIB, "Bytes of responses kept for one session.", low=MIB, size=True, live=True
    )
    response_store_ttl_s: float = setting(
        300.0,
        "How long a response is kept.",
        low=1,
        high=_LONGEST_S,
        alias="RESPONSE_STORE_TTL",
        alias_unit=0.001,
        live=True,
    )
    response_body_bytes: int = setting(
        4 * MIB, "Largest body of a response that is kept.", size=True, live=True
    )
    console_messages: int = setting(
        1000, "Console messages kept for one session.", low=1, high=100_000, live=True
    )
    download_bytes: int = setting(
        100 * MIB, "Largest download; one that grows over it is cancelled.", size=True, live=True
    )
    ping_interval_s: float = setting(
        30.0,
        "Pause between WebSocket pings; a client silent for two is dropped; 0 is never.",
        high=86400,
        live=True,
    )
    health_interval_s: float = setting(
        30.0, "Pause between health checks of each Chrome.", low=0.1, high=86400, live=True
    )
    health_timeout_s: float = setting(
        10.0, "Time a Chrome has to answer a health check.", low=0.1, high=3600, live=True
    )
    heartbeat_timeout_s: float = setting(
        10.0, "Time the gateway may hang until it is replaced.", low=0.5, high=3600, live=True
    )
    fd_store: bool = setting(
        False, "Leave sessions with systemd, so that they outlive the daemon as well."
    )
    canary_interval_s: float = setting(0.0, "Pause between canaries; 0 is never.", high=86400)
    alert_memory_percent: float = setting(
        80.0, "Percent of pool_memory_bytes that raise an alert.", low=20, high=100, live=True
    )
    alert_sessions_percent: float = setting(
        80.0, "Percent of max_sessions that raise an alert.", low=20, high=100, live=True
    )
    alert_crashes: int = setting(
        5, "Sessions that crash within five minutes before an alert is raised.", low=1, live=True
    )
    webhook_url: str = setting("", "http(s) URL that alerts are sent to.", live=True)
    webhook_secret_file: str = setting(
        "", "File with the key that what is sent to webhook_url is signed with.", live=True
    )
    dynamic_limits: bool = setting(
        False, "Let the load decide how many sessions are admitted, and how many wait.", live=True
    )
    dynamic_floor: int = setting(
        1, "Sessions admitted at least, with dynamic_limits.", low=1, high=10_000, live=True
    )
    warm_most: int = setting(
        5, "Chromes started ahead at most, with dynamic_limits.", high=1000, live=True
    )
    journal: bool = setting(True, "Keep a journal of sessions and events, on disk.")
    journal_sessions: int = setting(10_000, "Sessions in it.", low=1, high=1_000_000, live=True)
    journal_days: float = setting(30.0, "Days they are in it.", low=0.01, high=3650, live=True)
    log_level: str = setting("info", "debug, info, warning or error.", live=True)

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
        """Folder in which every session has its profile folder."""
        return Path(self.state_dir) / "profiles"

    @property
    def kept_profiles_dir(self) -> Path:
        """Folder of the profiles that are kept, in one folder for each owner."""
        return Path(self.state_dir) / "kept"

    @property
    def history_dir(self) -> Path:
        """Folder of the history's database: the only one on disk the gateway writes to."""
        return Path(self.state_dir) / "journal"

    @property
    def control_socket_mode(self) -> int:
        """Who can open the control socket. Not root's daemon gives everybody its own uid."""
        return int(self.socket_mode or ("0666" if os.geteuid() == 0 else "0600"), 8)


FIELDS: dict[str, dataclasses.Field[Any]] = _flat(
    {field.name: field for field in dataclasses.fields(Settings)},
    {field.name: field for field in dataclasses.fields(Limits)},
)
"""Name of each setting and its declaration."""
TYPES: dict[str, type] = _flat(get_type_hints(Settings), get_type_hints(Limits))
"""Name of each setting and the type of its value."""


def flag_of(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def env_of(name: str) -> str:
    """The environment variable of a setting."""
    return "CHROMEPOOL_" + name.upper()


def parse(name: str, value: Any) -> Any:
    """Return a setting's value from what was written; the ValueError says what is wrong with it."""
    return parse_value(TYPES[name], FIELDS[name].metadata, value)


def merge_live(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """Return the settings after a reload, and the names of those that only a restart can change."""
    before, after = old.values(), new.values()
    changed = [name for name in FIELDS if before[name] != after[name]]
    live = {name: after[name] for name in changed if FIELDS[name].metadata["live"]}
    return Settings.from_values(before | live), [name for name in changed if name not in live]
