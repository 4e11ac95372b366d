"""Sources of the settings: a YAML file, the environment, flags.

A flag beats the environment, which beats the file, which beats the default. Every error names its
source, and the line of a file.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from chromepool.config import (
    DEFAULT_FILE,
    FIELDS,
    Settings,
    default_runtime_dir,
    default_state_dir,
    env_of,
    flag_of,
    parse,
)
from chromepool.errors import ConfigError


def _take(values: dict[str, Any], name: str, value: Any, source: str) -> None:
    try:
        values[name] = parse(name, value)
    except ValueError as error:
        raise ConfigError(f"{source}: {name} = {value!r} {error}.") from None


def _read_yaml(path: Path) -> list[tuple[int, Any, Any]]:
    """Return line, key and value of each setting in a file."""
    import yaml  # only here: a daemon without a file does not need the memory of the parser

    try:
        text = path.read_text()
        node = yaml.compose(text, yaml.SafeLoader)
        make = yaml.SafeLoader("").construct_object
        if node is None or node.tag == "tag:yaml.org,2002:null":  # empty, or only comments
            return []
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}:1: the file does not consist of `name: value` lines.")
        found = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            found.append((line, _make(make, key, path), _make(make, value, path)))
        return found
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark or error.problem_mark  # the beginning, before the symptom
        line = mark.line + 1 if mark else 1
        text = "".join(text.splitlines()[line - 1 : line]).strip()
        raise ConfigError(f"{path}:{line}: this is not YAML: {error.problem}: {text}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # ValueError: not UTF-8; RecursionError: brackets in brackets without end
        raise ConfigError(f"{path} is not YAML: {error}") from error


def _make(make: Callable[..., Any], node: Any, path: Path) -> Any:
    """Return the value of a node. YAML has values that Python lacks, the date 2026-02-30 say."""
    try:
        return make(node, True)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: {error}.") from error


def _from_file(path: Path, sources: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for line, name, value in _read_yaml(path):
        where = f"{path}:{line}"
        if not isinstance(name, str) or name not in FIELDS:
            raise ConfigError(f"{where}: there is no setting {name!r}.{_nearest(name)}")
        if name in values:
            raise ConfigError(f"{where}: {name} is set a second time.")
        _take(values, name, value, where)
        sources[name] = where
    return values


def _nearest(name: object) -> str:
    found = difflib.get_close_matches(str(name), FIELDS, n=1)
    return f" Did you mean {found[0]}?" if found else ""


def _in_units(value: str, unit: float) -> Any:
    """Convert a variable to the unit of its setting; what is no number stays as it is."""
    try:
        return float(value) * unit if unit != 1 else value
    except ValueError:
        return value


def _from_environment(environ: Mapping[str, str], sources: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        for variable, unit in (
            (field.metadata["alias"], field.metadata["alias_unit"]),
            (env_of(name), 1),
        ):
            if variable and environ.get(variable, "") != "":
                _take(values, name, _in_units(environ[variable], unit), variable)
                sources[name] = variable
    return values


def _is_web(url: str) -> bool:
    """Report that a URL is empty, or http or https."""
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False
    return not url or bool(known and url.isprintable() and " " not in url)


def _check_together(settings: Settings, sources: Mapping[str, str]) -> None:
    """Check the settings that depend on each other; an error names the source of the wrong one."""

    def refuse(name: str, why: str, remedy: str = "") -> NoReturn:
        value = getattr(settings, name)
        raise ConfigError(
            f"{sources.get(name, 'default')}: {name} = {value!r} {why}.", remedy=remedy
        )

    if 0 <= settings.gateway_uid - settings.uid_base < settings.uid_count:
        remedy = (
            "Move uid_base or gateway_uid: a session with that uid could kill or trace the gateway."
        )
        refuse("gateway_uid", "is one of the sessions' uids", remedy)
    if settings.log_level not in ("debug", "info", "warning", "error"):
        refuse("log_level", "is not debug, info, warning, error")
    if not re.fullmatch(r"(0?[0-7]{3})?", settings.socket_mode):
        refuse("socket_mode", "is not a mode such as 0660")
    if settings.warm_sessions > settings.max_sessions:
        refuse("warm_sessions", f"is more than max_sessions = {settings.max_sessions}")
    if settings.idle_timeout_s > settings.longest_idle_timeout_s:
        refuse("idle_timeout_s", "is more than longest_idle_timeout_s")
    if not _is_web(settings.webhook_url):  # not shown, since a URL may contain a password
        where = sources.get("webhook_url", "default")
        raise ConfigError(f"{where}: webhook_url is not an http:// or https:// URL.")
    for name in ("require_token", "control_tcp"):
        if getattr(settings, name) and not settings.tokens_file:
            refuse(name, "needs a tokens_file")


def load(
    flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Load the settings from file, environment and flags; raises :class:`ConfigError`."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None or DEFAULT_FILE.exists():
        values |= _from_file(file or DEFAULT_FILE, sources)
    values |= _from_environment(environ, sources)
    for name, value in flags.items():
        if value is not None:
            _take(values, name, value, flag_of(name))
            sources[name] = flag_of(name)
    settings = Settings.from_values(values)
    _check_together(settings, sources)
    return dataclasses.replace(
        settings,
        runtime_dir=settings.runtime_dir or default_runtime_dir(),
        state_dir=settings.state_dir or default_state_dir(),
    )
