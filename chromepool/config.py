"""Every setting of chromepool, declared once.

From :class:`Settings` come the YAML file's keys, the environment variables (``CHROMEPOOL_`` and
the name in capitals, plus the short names some settings have), the flags of ``chromepool serve``
and the reference page. A flag beats the environment, which beats the file, which beats the default.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from chromepool.errors import ConfigError
from chromepool.model import Limits

MIB = 1024 * 1024
GIB = 1024 * MIB
DEFAULT_FILE = Path("/etc/chromepool/chromepool.yaml")

_SUFFIXES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": MIB, "gi": GIB}
_SIZE = re.compile(r"(\d+)\s*([kmg]i?)?b?", re.IGNORECASE)
_LARGEST_BYTES = 1 << 62
"""The kernel counts bytes in 63 bits."""
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
) -> Any:
    """One row of the table: what it means, its bounds, whether ``512MiB`` is a way to write it."""
    high = min(high, _LARGEST_BYTES) if size else high
    meta = {"help": text, "low": low, "high": high, "size": size, "alias": alias}
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
    max_sessions: int = _setting(10, "Sessions at once.", low=1, high=10_000, alias="MAX_SESSIONS")
    session_memory_bytes: int = _setting(
        512 * MIB, "Hard memory cap of one session.", low=64 * MIB, size=True
    )
    session_heap_bytes: int = _setting(
        100_000_000,
        "JavaScript heap (V8 old space) of each renderer.",
        low=16_000_000,
        size=True,
        alias="MAX_MEMORY_PER_SESSION",
    )
    session_pids: int = _setting(512, "Processes and threads of one session.", low=64, high=65536)
    session_cpu_cores: float = _setting(0.0, "Cores one session may use; 0 is no cap.", high=4096)
    session_files: int = _setting(4096, "Open files of each Chrome process.", low=256, high=1 << 20)
    session_file_bytes: int = _setting(
        GIB, "Largest file a Chrome process may write.", low=16 * MIB, size=True
    )
    pool_memory_bytes: int = _setting(
        GIB, "Hard memory cap of all sessions together.", low=128 * MIB, size=True
    )
    uid_base: int = _setting(
        60600, "First uid of the range sessions run as (root only).", low=1, high=_LARGEST_UID
    )
    uid_count: int = _setting(512, "How many uids that range has.", low=1, high=100_000)
    gateway_uid: int = _setting(
        60599, "uid and gid the gateway runs as (root only).", low=1, high=_LARGEST_UID
    )
    start_timeout_s: float = _setting(30.0, "Time Chrome has for its first CDP answer.", low=0.1)
    close_timeout_s: float = _setting(3.0, "Time Chrome has to close before SIGTERM.", low=0.0)
    term_timeout_s: float = _setting(2.0, "Time Chrome has after SIGTERM before SIGKILL.", low=0.0)
    shutdown_timeout_s: float = _setting(30.0, "Time the daemon has to stop.", low=0.1)
    max_message_bytes: int = _setting(
        64 * MIB, "Largest CDP message taken from a client.", low=MIB, size=True
    )
    max_clients: int = _setting(32, "WebSockets on one session at once.", low=1, high=10_000)
    client_buffer_bytes: int = _setting(
        32 * MIB, "Bytes kept for a client that reads too slowly.", low=MIB, size=True
    )
    max_body_bytes: int = _setting(MIB, "Largest body of a control request.", low=1024, size=True)
    allowed_hosts: str = _setting(
        "", "More host names the endpoint answers to, separated by commas; * is any."
    )
    allowed_origins: str = _setting(
        "", "Origins of web pages that may open WebSockets, separated by commas; * is any."
    )
    log_level: str = _setting("info", "debug, info, warning or error.")

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
        )

    @property
    def control_socket(self) -> Path:
        """Path of the control API's Unix socket."""
        return Path(self.runtime_dir) / "control.sock"

    @property
    def profiles_dir(self) -> Path:
        """Folder in which every session has its profile folder."""
        return Path(self.state_dir) / "profiles"


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
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("is not true or false")


def _parse_size(value: Any) -> int:
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("is not a size such as 536870912 or 512MiB")
    return int(match[1]) * _SUFFIXES[(match[2] or "").lower()]


def _parse_number(kind: type, value: Any) -> int | float:
    if isinstance(value, bool):
        raise ValueError("is not a number")
    try:
        number = int(str(value)) if kind is int else float(str(value))
    except ValueError:
        raise ValueError("is not a whole number" if kind is int else "is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number


def _parse(name: str, value: Any) -> Any:
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


def _take(values: dict[str, Any], name: str, value: Any, source: str) -> None:
    try:
        values[name] = _parse(name, value)
    except ValueError as error:
        raise ConfigError(f"{source}: {name} = {value!r} {error}.") from None


def _from_file(path: Path) -> dict[str, Any]:
    import yaml  # here, so that a daemon without a file does not carry the parser

    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: not UTF-8, or a number or a date such as 2026-02-30 that Python has not
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if document is None:  # nothing, or nothing but comments
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: settings are written as `name: value` lines.")
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name not in FIELDS:
            raise ConfigError(f"{path}: there is no setting {name!r}.")
        _take(values, name, value, str(path))
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        for variable in (field.metadata["alias"], env_of(name)):
            if variable and environ.get(variable, "") != "":
                _take(values, name, environ[variable], variable)
    return values


def load(
    flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Settings from the file, the environment and the flags; raises :class:`ConfigError`."""
    values: dict[str, Any] = {}
    if file is not None or DEFAULT_FILE.exists():
        values |= _from_file(file or DEFAULT_FILE)
    values |= _from_environment(environ)
    for name, value in flags.items():
        if value is not None:
            _take(values, name, value, flag_of(name))
    settings = Settings(**values)
    if 0 <= settings.gateway_uid - settings.uid_base < settings.uid_count:
        raise ConfigError(
            f"gateway_uid = {settings.gateway_uid} is one of the sessions' uids.",
            remedy="A session could then kill or trace the gateway: move uid_base or gateway_uid.",
        )
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"log_level = {settings.log_level!r} is not debug, info, warning, error.")
    return dataclasses.replace(
        settings,
        runtime_dir=settings.runtime_dir or default_runtime_dir(),
        state_dir=settings.state_dir or default_state_dir(),
    )
