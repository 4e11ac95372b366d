"""Recorder of what people and programs meet on a machine: commands, settings, metrics, files."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from unittest import mock

import click

import chromepool
from chromepool import errors

from . import adapters, spoken
from .record_api import error_types

Json = Any


# -- the command line --


def _type(kind: dict[str, Any]) -> Json:
    kept = ("name", "choices", "case_sensitive", "min", "max", "min_open", "max_open", "clamp")
    return {key: kind[key] for key in kept if key in kind}


def _option(told: dict[str, Any]) -> Json:
    kept = (
        "opts",
        "secondary_opts",
        "required",
        "nargs",
        "multiple",
        "envvar",
        "is_flag",
        "hidden",
    )
    found = {key: told[key] for key in kept}
    return found | {"type": _type(told["type"]), "default": _plain(told["default"])}


def _plain(value: object) -> Json:
    """Return a default as JSON has it."""
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _parameters(told: list[dict[str, Any]]) -> Json:
    options = [each for each in told if each["param_type_name"] == "option"]
    arguments = [each for each in told if each["param_type_name"] == "argument"]
    return {
        "options": {each["opts"][0]: _option(each) for each in options},
        "arguments": [
            {"name": each["name"].upper(), "required": each["required"], "nargs": each["nargs"]}
            | {"type": _type(each["type"])}
            for each in arguments
        ],
    }


def cli() -> Json:
    """Describe the commands, with their arguments and options."""
    group = adapters.command_line()
    told = group.to_info_dict(click.Context(group))
    return _parameters(told["params"]) | {
        "commands": {
            name: _parameters(each["params"]) | {"hidden": each["hidden"]}
            for name, each in told["commands"].items()
        },
        "runs as a module": callable(adapters.console_script()),
        "module": getattr(adapters.console_script(), "__module__", ""),
    }


def cli_json() -> Json:
    """List the keys of ``--json`` that are not of the API: those of ``doctor`` and ``canary``."""
    kinds = {"doctor": adapters.doctor_finding(), "canary": adapters.canary_flight()}
    return {name: sorted(f.name for f in dataclasses.fields(kind)) for name, kind in kinds.items()}


# -- settings --

_WRITTEN: tuple[tuple[str, object], ...] = (
    *(("session_memory_bytes", text) for text in ("512MiB", "512 mb", "1g", "1GiB", "70000000")),
    *(("session_memory_bytes", text) for text in ("1", "-1", "0.5GiB", "x", "1TiB")),
    *(("journal", text) for text in ("yes", "ON", "1", "true", "no", "off", "0", "False", "x", "")),
    *(("max_sessions", text) for text in ("3", "0", "10001", "1.5", True)),
    *(("max_age_s", text) for text in ("1.5", "0", "nan", "inf", "-1", "2592001")),
    *(("host", text) for text in ("::1", 5)),
)


def _parsed(name: str, value: object) -> Json:
    try:
        return adapters.settings_module().parse(name, value)
    except ValueError:
        return "refused"


def _setting(name: str, field: dataclasses.Field[Any], kind: type) -> Json:
    config, meta = adapters.settings_module(), field.metadata
    bounds = {key: meta[key] if math.isfinite(meta[key]) else None for key in ("low", "high")}
    return bounds | {
        "type": kind.__name__,
        "default": field.default,
        "size": meta["size"],
        "live": meta["live"],
        "flag": config.flag_of(name),
        "variable": config.env_of(name),
        "alias": meta["alias"],
        "alias_unit": meta["alias_unit"],
    }


def settings() -> Json:
    """Describe every setting, and what some written values come to."""
    config = adapters.settings_module()
    kinds = config.TYPES
    return {
        "settings": {
            name: _setting(name, field, kinds[name]) for name, field in config.FIELDS.items()
        },
        "written": {f"{name}={value!r}": _parsed(name, value) for name, value in _WRITTEN},
    }


# -- metrics --

_SAMPLE = re.compile(r"^(\w+?)(?:_bucket|_sum|_count)?\{(.*)\} \S+$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_OF_THE_MACHINE = {"scope", "resource", "slot", "version", "cgroup"}
"""Labels of which a first scrape has what this machine has."""


def _first_samples(page: str) -> Json:
    """Collect the series that are there before anything has happened, histograms' bounds too."""
    found: dict[str, set[str]] = {}
    for name, labels in _SAMPLE.findall(page):
        pairs = dict(_LABEL.findall(labels))
        if not _OF_THE_MACHINE & set(pairs):
            told = ",".join(f"{key}={value}" for key, value in sorted(pairs.items()))
            if told:
                found.setdefault(name, set()).add(told)
    return {name: sorted(values) for name, values in found.items()}


def metrics() -> Json:
    """Describe the metrics: families, labels, values of labels, and a first scrape."""
    content_type, page = adapters.first_scrape()
    return {
        "content type": content_type,
        "families": {
            family.name: {"kind": family.kind, "labels": sorted(family.labels)}
            for family in adapters.metric_families()
        },
        "scraped": dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE)),
        "label values": {
            label: sorted(map(str, values))
            for label, values in adapters.metric_label_values().items()
        },
        "first samples": _first_samples(page),
        "alerts": {rule.name: rule.severity for rule in adapters.alert_rules()},
    }


# -- the Python package --


def _signature(function: Callable[..., Any]) -> Json:
    """Describe parameters; those that can be given by place have their place."""
    found: dict[str, Any] = {}
    for place, each in enumerate(inspect.signature(function).parameters.values()):
        by_name = each.kind in (each.KEYWORD_ONLY, each.VAR_KEYWORD)
        default = None if each.default is each.empty else repr(each.default)
        kind = {"kind": each.kind.name, "default": default}
        found[each.name] = kind if by_name else kind | {"place": place}
    return found


_CALLED_BY_PYTHON = ("__aenter__", "__aexit__", "__str__")


def _kind(member: object) -> str:
    if hasattr(member, "__wrapped__") and inspect.isasyncgenfunction(inspect.unwrap(member)):  # type: ignore[arg-type]
        return "async context manager"
    if inspect.isasyncgenfunction(member):
        return "async generator"
    return "coroutine" if inspect.iscoroutinefunction(member) else "function"


def _returns(function: Callable[..., Any]) -> str:
    """Return what is written as the type of an answer, without the modules of names."""
    return re.sub(r"\b[a-z_]\w*\.", "", str(inspect.signature(function).return_annotation))


def _member(name: str, member: Any) -> Json:
    if isinstance(member, property):
        assert member.fget is not None
        return {"kind": "property", "returns": _returns(member.fget)}
    if name in _CALLED_BY_PYTHON:
        return {"kind": _kind(member)}
    parameters = {"kind": _kind(member), "parameters": _signature(member)}
    return parameters if name == "__init__" else parameters | {"returns": _returns(member)}


def _class(kind: type, instance: object) -> Json:
    """Describe the public members of a class, with the attributes that an instance has."""
    special = (*_CALLED_BY_PYTHON, "__init__")
    members: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        if base.__module__.startswith("chromepool"):
            members |= {
                name: member
                for name, member in vars(base).items()
                if (not name.startswith("_") or name in special)
                and (callable(member) or isinstance(member, property))
            }
    return {
        "ancestors": [base.__name__ for base in kind.__mro__[1:-1]],
        "attributes": sorted(name for name in vars(instance) if not name.startswith("_")),
        "members": {name: _member(name, member) for name, member in members.items()},
    }


def python() -> Json:
    """Describe what ``chromepool`` exports, and ``chromepool.errors``."""
    problem = mock.Mock(detail="why", remedy="what to do", code="pool_full")
    error = chromepool.ApiError(problem, 503, 2.0)
    return {
        "exports": sorted(chromepool.__all__),
        "classes": {
            "Client": _class(chromepool.Client, chromepool.Client("/control.sock")),
            "Session": _class(chromepool.Session, chromepool.Session(mock.Mock(), mock.Mock())),
            "ApiError": _class(chromepool.ApiError, error),
            "ChromepoolError": _class(errors.ChromepoolError, errors.ChromepoolError("why")),
        },
        "errors": {
            name: {"code": kind.code, "ancestors": [base.__name__ for base in kind.__mro__[1:-1]]}
            for name, kind in error_types().items()
        },
        "words": {
            "str": str(errors.PoolFull("why.", remedy="what to do.")),
            "code": error.code,
            "status": error.status,
            "retry_after_s": error.retry_after_s,
        },
        "typed": (adapters.PACKAGE / "py.typed").exists(),
    }


# -- files --

_PROMISED = {
    *("ListenStream", "SocketMode", "DirectoryMode", "RemoveOnStop", "Type", "SyslogIdentifier"),
    *(
        "ExecStart",
        "ExecReload",
        "ExecStopPost",
        "Environment",
        "RuntimeDirectory",
        "StateDirectory",
    ),
    *("RuntimeDirectoryPreserve", "StateDirectoryMode", "KillMode", "FileDescriptorStoreMax"),
    *("Delegate", "Restart", "OOMPolicy", "WantedBy", "Also", "ReadWritePaths", "NoNewPrivileges"),
}
"""Directives that users and other units build on; the rest of a unit may change."""


def _files_below(folder: Traversable, base: str = "") -> Iterator[tuple[str, str]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files_below(each, f"{base}{each.name}/")
        else:
            yield base + each.name, each.read_text()


def _directives(name: str, text: str) -> Json:
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    if name.endswith(".conf"):
        return {"lines": lines}
    found: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key in _PROMISED:
            found.setdefault(key, []).append(value)
    return found


def _places() -> Json:
    """Tell where the files of a daemon lie, by the defaults of now."""
    config = adapters.settings_module()
    runtime, state = config.default_runtime_dir(), config.default_state_dir()
    found = config.Settings(runtime_dir=runtime, state_dir=state)
    return {
        "runtime folder": runtime,
        "state folder": state,
        "control socket": str(found.control_socket),
        "mode of the control socket": oct(found.control_socket_mode),
        "profiles": str(found.profiles_dir),
        "kept profiles": str(found.kept_profiles_dir),
        "journal": str(adapters.journal_folder(found)),
        "user units": sorted(map(str, adapters.installed_files(user=True, root=None))),
    }


def _places_of(uid: int, **environment: str) -> Json:
    with (
        mock.patch("os.geteuid", return_value=uid),
        mock.patch.dict(os.environ, environment | {"HOME": "/home/u"}, clear=True),
    ):
        return _places()


_LITERALS = (
    *("Location", "Server-Timing", "Preference-Applied", "Prefer", "Retry-After", "Allow"),
    *("WWW-Authenticate", "Content-Disposition", "Chromepool-Session", "Last-Event-ID"),
    *("Authorization", "CHROMEPOOL_TOKEN", "CHROMEPOOL_ADDRESS", "XDG_RUNTIME_DIR"),
    *("XDG_STATE_HOME", "XDG_CONFIG_HOME", "NOTIFY_SOCKET", "LISTEN_FDNAMES", "journal.db"),
    *("chromepool is ready: ws://", " (control: ", "drained", "reloaded"),
)
"""Names of headers, variables and files, and words that scripts wait for, as code has them."""


def files() -> Json:
    """Describe the units that are shipped, where they go, and where a daemon's files lie."""
    xdg = {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        packaged = {
            kind: sorted(
                str(path.relative_to(root))
                for path in adapters.installed_files(user=user, root=root)
            )
            for kind, user in (("system", False), ("user", True))
        }
    return {
        "units": {
            name: _directives(name, text) for name, text in _files_below(adapters.units_folder())
        },
        "installed": packaged,
        "places": {
            "root": _places_of(0),
            "user": _places_of(1000),
            "user with XDG folders": _places_of(1000, **xdg),
        },
        "settings file": str(adapters.settings_module().DEFAULT_FILE),
        "lock of uids": adapters.uid_lock(),
        "names in code": {name: spoken.in_code(name) for name in _LITERALS},
    }
