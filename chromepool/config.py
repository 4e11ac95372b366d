"""Every setting of chromepool, declared once.

From :class:`Settings` come the YAML file's keys, the environment variables (``CHROMEPOOL_`` and
the name in capitals, plus the short names some settings have), the flags of ``chromepool serve``
and the reference page. :mod:`chromepool.config_sources` reads them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path
from typing import Any, get_type_hints

from chromepool.model import Limits

MIB = 1024 * 1024
GIB = 1024 * MIB
DEFAULT_FILE = Path("/etc/chromepool/chromepool.yaml")

_SUFFIXES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": MIB, "gi": GIB}
_SIZE = re.compile(r"(\d+)\s*([kmg]i?)?b?", re.IGNORECASE)
_LARGEST_BYTES = 1 << 62
"""The kernel counts bytes in 63 bits."""
_LONGEST_S = 30 * 86400
"""A month: longer than any Chrome should live."""
_LARGEST_UID = 4_000_000_000
"""uids have 32 bits, and the last one means "stay who you are" to setresuid(2)."""
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _setting(
    default: Any,
    text: str,
    *,
    low: float = 0,
    high: float = math.inf,
    size: bool = False,
    alias: str = "",
    alias_unit: float = 1,
    live: bool = False,
) -> Any:
    """One row of the table: what it means, its bounds, whether ``512MiB`` is a way to write it,
    another variable and what one of its units is worth, whether SIGHUP can change it."""
    meta = {"help": text, "low": low, "size": size, "alias": alias, "alias_unit": alias_unit}
    meta |= {"high": min(high, _LARGEST_BYTES) if size else high, "live": live}
    return dataclasses.field(default=default, metadata=meta)


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


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a running daemon; times in seconds, sizes in bytes."""

    host: str = _setting("127.0.0.1", "Address of the DevTools endpoint.")
    port: int = _setting(9222, "Port of the DevTools endpoint; 0 picks a free one.", high=65535)
    runtime_dir: str = _setting("", "Folder of the control socket; empty: /run or the user's own.")
    state_dir: str = _setting("", "Folder of the profiles; empty: /var/lib or the user's own.")
    chrome: str = _setting("", "Path of Chrome; empty: the headless shell, else any that is found.")
    no_sandbox: bool = _setting(
        False, "Run Chrome without its sandbox. Any page that breaks a renderer then owns its uid."
    )
    allowed_flags: str = _setting(
        "", "More Chrome flags sessions may ask for, names separated by commas.", live=True
    )
    max_sessions: int = _setting(
        10, "Sessions at once.", low=1, high=10_000, alias="MAX_SESSIONS", live=True
    )
    warm_sessions: int = _setting(
        1, "Chromes started ahead, within max_sessions.", high=1000, live=True
    )
    idle_timeout_s: float = _setting(
        1800.0,
        "A session ends after this long without a CDP command; 0 is never.",
        high=_LONGEST_S,
        alias="SESSION_TIMEOUT",
        alias_unit=0.001,
        live=True,
    )
    longest_idle_timeout_s: float = _setting(
        86400.0,
        "The longest idle timeout a session may ask for.",
        low=1,
        high=_LONGEST_S,
        live=True,
    )
    max_age_s: float = _setting(
        0.0,
        "The longest life of a session, used or not; 0 is no limit.",
        high=_LONGEST_S,
        live=True,
    )
    creations_per_minute: float = _setting(
        5.0, "Sessions one client may create in a minute; 0 is no limit.", high=60_000, live=True
    )
    queue_length: int = _setting(
        100, "Callers that may wait for a place at once.", high=10_000, live=True
    )
    queue_wait_s: float = _setting(
        60.0, "The longest that a caller may wait for a place.", high=3600, live=True
    )
    start_attempts: int = _setting(
        2, "How often the start of a Chrome is tried.", low=1, high=10, live=True
    )
    breaker_failures: int = _setting(
        5, "Failed starts in a row after which none is tried for a while.", low=1, live=True
    )
    breaker_pause_s: float = _setting(
        30.0, "How long none is tried.", low=0.1, high=3600, live=True
    )
    session_need_bytes: int = _setting(
        128 * MIB, "Memory that must be free for one more Chrome.", size=True, live=True
    )
    session_memory_bytes: int = _setting(
        512 * MIB, "Hard memory cap of one session.", low=64 * MIB, size=True, live=True
    )
    session_heap_bytes: int = _setting(
        100_000_000,
        "JavaScript heap (V8 old space) of each renderer.",
        low=16_000_000,
        size=True,
        alias="MAX_MEMORY_PER_SESSION",
        live=True,
    )
    session_pids: int = _setting(
        512, "Processes and threads of one session.", low=64, high=65536, live=True
    )
    session_cpu_cores: float = _setting(
        0.0, "Cores one session may use; 0 is no cap.", high=4096, live=True
    )
    session_cpu_weight: int = _setting(
        100, "Share of the CPU of a session beside others.", low=1, high=10_000, live=True
    )
    session_files: int = _setting(
        4096, "Open files of each Chrome process.", low=256, high=1 << 20, live=True
    )
    session_file_bytes: int = _setting(
        GIB, "Largest file a Chrome process may write.", low=16 * MIB, size=True, live=True
    )
    pool_memory_bytes: int = _setting(
        GIB, "Hard memory cap of all sessions together.", low=128 * MIB, size=True
    )
    kept_profiles: int = _setting(
        20, "Kept profiles one owner may have; each takes a uid for good.", high=100_000, live=True
    )
    uid_base: int = _setting(
        60600, "First uid of the range sessions run as (root only).", low=1, high=_LARGEST_UID
    )
    uid_count: int = _setting(512, "How many uids that range has.", low=1, high=100_000)
    gateway_uid: int = _setting(
        60599, "uid and gid the gateway runs as (root only).", low=1, high=_LARGEST_UID
    )
    start_timeout_s: float = _setting(
        30.0, "Time Chrome has for its first CDP answer.", low=0.1, live=True
    )
    close_timeout_s: float = _setting(3.0, "Time Chrome has to close before SIGTERM.", live=True)
    term_timeout_s: float = _setting(
        2.0, "Time Chrome has after SIGTERM before SIGKILL.", live=True
    )
    shutdown_timeout_s: float = _setting(30.0, "Time the daemon has to stop.", low=0.1, live=True)
    max_message_bytes: int = _setting(
        64 * MIB, "Largest CDP message taken from a client.", low=MIB, size=True, live=True
    )
    max_clients: int = _setting(
        32, "WebSockets on one session at once.", low=1, high=10_000, live=True
    )
    client_buffer_bytes: int = _setting(
        32 * MIB, "Bytes kept for a client that reads too slowly.", low=MIB, size=True, live=True
    )
    max_body_bytes: int = _setting(MIB, "Largest body of a control request.", low=1024, size=True)
    allowed_hosts: str = _setting(
        "", "More host names the endpoint answers to, separated by commas; * is any.", live=True
    )
    allowed_origins: str = _setting(
        "",
        "Origins of web pages that may open WebSockets, separated by commas; * is any.",
        live=True,
    )
    tokens_file: str = _setting(
        "",
        "File of `name token` lines; without one of them no session is made over TCP.",
        live=True,
    )
    require_token: bool = _setting(
        False, "Ask for a token on a session's DevTools routes, too.", live=True
    )
    control_tcp: bool = _setting(
        False, "Offer the control API on the DevTools address as well, with a token."
    )
    metrics_tcp: bool = _setting(
        False, "Offer /metrics on the DevTools address as well, without a token."
    )
    socket_mode: str = _setting(
        "", "Mode of the control socket; empty: 0666 for root (each sees their own), else 0600."
    )
    group: str = _setting(
        "", "Group whose members see and end every session, as root and the daemon's user do."
    )
    max_scripts: int = _setting(
        50,
        "Persistent scripts of one session.",
        high=10_000,
        alias="MAX_PERSISTENT_SCRIPTS",
        live=True,
    )
    max_script_bytes: int = _setting(
        20 * 1024,
        "Longest persistent script.",
        low=1,
        size=True,
        alias="MAX_SCRIPT_SIZE",
        live=True,
    )
    response_store_items: int = _setting(
        100, "Responses kept for one session.", low=1, high=100_000, live=True
    )
    response_store_bytes: int = _setting(
        32 * MIB, "Bytes of responses kept for one session.", low=MIB, size=True, live=True
    )
    response_store_ttl_s: float = _setting(
        300.0,
        "How long a response is kept.",
        low=1,
        high=_LONGEST_S,
        alias="RESPONSE_STORE_TTL",
        alias_unit=0.001,
        live=True,
    )
    response_body_bytes: int = _setting(
        4 * MIB, "Largest body of a response that is kept.", size=True, live=True
    )
    console_messages: int = _setting(
        1000, "Console messages kept for one session.", low=1, high=100_000, live=True
    )
    download_bytes: int = _setting(
        100 * MIB, "Largest download; one that grows over it is cancelled.", size=True, live=True
    )
    ping_interval_s: float = _setting(
        30.0,
        "Pause between WebSocket pings; a client silent for two is dropped; 0 is never.",
        high=86400,
        live=True,
    )
    health_interval_s: float = _setting(
        30.0, "Pause between health checks of each Chrome.", low=0.1, high=86400, live=True
    )
    health_timeout_s: float = _setting(
        10.0, "Time a Chrome has to answer a health check.", low=0.1, high=3600, live=True
    )
    heartbeat_timeout_s: float = _setting(
        10.0, "Time the gateway may hang until it is replaced.", low=0.5, high=3600, live=True
    )
    fd_store: bool = _setting(
        False, "Leave sessions with systemd, so that they outlive the daemon as well."
    )
    canary_interval_s: float = _setting(0.0, "Pause between canaries; 0 is never.", high=86400)
    alert_memory_percent: float = _setting(
        80.0, "Percent of pool_memory_bytes that raise an alert.", low=20, high=100, live=True
    )
    alert_sessions_percent: float = _setting(
        80.0, "Percent of max_sessions that raise an alert.", low=20, high=100, live=True
    )
    alert_crashes: int = _setting(
        5, "Sessions that crash within five minutes before an alert is raised.", low=1, live=True
    )
    webhook_url: str = _setting("", "http(s) URL that alerts are sent to.", live=True)
    webhook_secret_file: str = _setting(
        "", "File with the key that what is sent to webhook_url is signed with.", live=True
    )
    dynamic_limits: bool = _setting(
        False, "Let the load decide how many sessions are admitted, and how many wait.", live=True
    )
    dynamic_floor: int = _setting(
        1, "Sessions admitted at least, with dynamic_limits.", low=1, high=10_000, live=True
    )
    warm_most: int = _setting(
        5, "Chromes started ahead at most, with dynamic_limits.", high=1000, live=True
    )
    journal: bool = _setting(True, "Keep a journal of sessions and events, on disk.")
    journal_sessions: int = _setting(10_000, "Sessions in it.", low=1, high=1_000_000, live=True)
    journal_days: float = _setting(30.0, "Days they are in it.", low=0.01, high=3650, live=True)
    log_level: str = _setting("info", "debug, info, warning or error.", live=True)

    @property
    def session_limits(self) -> Limits:
        """The limits a session has unless it asks for less, and the most it may ask for."""
        return Limits(
            memory_bytes=self.session_memory_bytes,
            heap_bytes=self.session_heap_bytes,
            pids=self.session_pids,
            cpu_cores=self.session_cpu_cores,
            files=self.session_files,
            file_bytes=self.session_file_bytes,
            cpu_weight=self.session_cpu_weight,
        )

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


FIELDS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Settings)}
_TYPES: dict[str, type] = get_type_hints(Settings)


def flag_of(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def env_of(name: str) -> str:
    """The environment variable of a setting."""
    return "CHROMEPOOL_" + name.upper()


def _parse_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is not true or false")
    return word in _TRUE


def _parse_size(value: Any) -> int:
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("is not a size such as 536870912 or 512MiB")
    return int(match[1]) * _SUFFIXES[(match[2] or "").lower()]


def _parse_number(kind: type, value: Any) -> int | float:
    try:
        number = int(str(value)) if kind is int else float(str(value))
    except ValueError:
        raise ValueError("is not a whole number" if kind is int else "is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number


def parse(name: str, value: Any) -> Any:
    """A setting's value from what was written; the ValueError says what is wrong with it."""
    kind, meta = _TYPES[name], FIELDS[name].metadata
    if kind is bool:
        return _parse_bool(value)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError("is not text")
        return value
    number = _parse_size(value) if meta["size"] else _parse_number(kind, value)
    if not meta["low"] <= number <= meta["high"]:
        raise ValueError(f"is not between {meta['low']} and {meta['high']}")
    return number


def merge_live(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """The settings after a reload, and the names of those that only a restart can change."""
    changed = [name for name in FIELDS if getattr(old, name) != getattr(new, name)]
    live = {name: getattr(new, name) for name in changed if FIELDS[name].metadata["live"]}
    return dataclasses.replace(old, **live), [name for name in changed if name not in live]
