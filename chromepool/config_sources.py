"""Sources of the settings: a YAML file, the environment, flags.

A flag beats the environment, which beats the file, which beats the default. Every error names its
source, and the line of a file.
"""

import dataclasses
import difflib
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from chromepool import config
from chromepool.config import FIELDS, Settings
from chromepool.errors import ConfigError

_Given = tuple[str, Any, Any]
"""Source, name and value of a setting."""


def _read_yaml(path: Path) -> list[_Given]:
    """Return each key and value of a file, with its line as the source."""
    import yaml  # only here: a daemon without a file does not need the memory of the parser

    found: list[_Given] = []
    where = str(path)
    try:
        text = path.read_text()
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None or node.tag == "tag:yaml.org,2002:null":  # empty, or only comments
            return []
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}:1: the file does not consist of `name: value` lines.")
        make = yaml.SafeLoader("").construct_object
        for key, value in node.value:
            where = f"{path}:{key.start_mark.line + 1}"
            found.append((where, make(key, True), make(value, True)))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark or error.problem_mark  # the beginning, before the symptom
        line = mark.line + 1 if mark else 1
        text = "".join(text.splitlines()[line - 1 : line]).strip()
        raise ConfigError(f"{path}:{line}: this is not YAML: {error.problem}: {text}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # ValueError: not UTF-8, or the date 2026-02-30; RecursionError: brackets without end
        raise ConfigError(f"{where}: this is not YAML: {error}") from error
    return found


def _from_file(path: Path) -> Iterator[_Given]:
    names = set()
    for where, name, value in _read_yaml(path):
        if not isinstance(name, str) or name not in FIELDS:
            nearest = difflib.get_close_matches(str(name), FIELDS, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(f"{where}: there is no setting {name!r}.{hint}")
        if name in names:
            raise ConfigError(f"{where}: {name} is set a second time.")
        names.add(name)
        yield where, name, value


def _in_units(value: str, unit: float) -> Any:
    """Convert a variable to the unit of its setting; what is no number stays as it is."""
    try:
        return float(value) * unit if unit != 1 else value
    except ValueError:
        return value


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name, field in FIELDS.items():
        alias, long = field.metadata["alias"], config.env_of(name)
        if environ.get(alias):
            yield alias, name, _in_units(environ[alias], field.metadata["alias_unit"])
        if environ.get(long):
            yield long, name, environ[long]


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

    def refuse(name: str, why: str, remedy: str = "", shown: str | None = None) -> NoReturn:
        value = f" = {getattr(settings, name)!r}" if shown is None else shown
        raise ConfigError(f"{sources.get(name, 'default')}: {name}{value} {why}.", remedy=remedy)

    if 0 <= settings.gateway_uid - settings.uid_base < settings.uid_count:
        remedy = "Move uid_base or gateway_uid: such a session could kill or trace the gateway."
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
        refuse("webhook_url", "is not an http:// or https:// URL", shown="")
    for name in ("require_token", "control_tcp"):
        if getattr(settings, name) and not settings.tokens_file:
            refuse(name, "needs a tokens_file")


def load(
    flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Load the settings from file, environment and flags; raises :class:`ConfigError`."""
    given: list[_Given] = []
    if file is not None or config.DEFAULT_FILE.exists():
        given += _from_file(file or config.DEFAULT_FILE)
    given += _from_environment(environ)
    given += [(config.flag_of(n), n, value) for n, value in flags.items() if value is not None]
    values: dict[str, Any] = {}
    for source, name, value in given:
        try:
            values[name] = config.parse(name, value)
        except ValueError as error:
            raise ConfigError(f"{source}: {name} = {value!r} {error}.") from None
    settings = Settings.from_values(values)
    _check_together(settings, {name: source for source, name, _ in given})
    return dataclasses.replace(
        settings,
        runtime_dir=settings.runtime_dir or config.default_runtime_dir(),
        state_dir=settings.state_dir or config.default_state_dir(),
    )
