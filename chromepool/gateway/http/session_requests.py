"""From a request to an order: bodies, query parameters, and what browserless' clients send."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from multidict import MultiMapping

from chromepool import chrome_options as launches
from chromepool.config import Settings
from chromepool.errors import InvalidRequest
from chromepool.gateway.browser.hooks.emulation import Emulation, Viewport
from chromepool.gateway.http.requests import make_wanted, read_json
from chromepool.gateway.spec import CaptureOptions, SessionSpec
from chromepool.gateway.store.scripts import Script, Scripts
from chromepool.model import ChromeOptions, Limits
from chromepool.schema.limits import LimitsRequest
from chromepool.schema.session import CreateSession

_LIMITS = set(LimitsRequest.__struct_fields__)
_PLAIN = {
    "idle_timeout_s",
    "max_age_s",
    "user_agent",
    "locale",
    "timezone",
    "proxy",
    "proxy_bypass",
    "ignore_certificate_errors",
    "profile",
    "downloads",
    "console",
}
_ELSEWHERE = {"token", "wait", "keepalive"}
"""Parameters that are not of the session itself."""
_AS_OPTIONS = {
    "--proxy-server": "proxy",
    "--proxy-bypass-list": "proxy_bypass",
    "--user-agent": "user_agent",
    "--ignore-certificate-errors": "ignore_certificate_errors",
}
_OURS = {
    "--no-sandbox",
    "--disable-setuid-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--headless",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--no-zygote",
    "--single-process",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port",
    "--remote-debugging-pipe",
}
"""What launch scripts set everywhere, and chromepool decides by itself: left out without a word, so
that a script that asks for no sandbox works, in one."""
_NO_MATTER = {"headless", "slowMo", "devtools", "dumpio", "handleSIGINT", "handleSIGTERM", "pipe"}
"""Keys of a browserless ``launch`` that change nothing about a Chrome that is there already."""
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def read_body(data: bytes) -> CreateSession:
    """The request in a body, which may be empty; raises :class:`InvalidRequest` that says where it
    is wrong."""
    return read_json(data or b"{}", CreateSession)


def _pairs(labels: Iterable[str]) -> dict[str, str]:
    found = {}
    for label in labels:
        name, equals, value = label.partition("=")
        if not equals:
            raise InvalidRequest(f"label={label!r} is not label=NAME=VALUE.")
        found[name] = value
    return found


def _viewport(size: str) -> dict[str, Any]:
    match = _SIZE.fullmatch(size)
    if match is None:
        raise InvalidRequest(f"viewport={size!r} is not WIDTHxHEIGHT.")
    return {"width": int(match[1]), "height": int(match[2])}


def read_query(query: MultiMapping[str]) -> CreateSession:
    """The request in the query of a connect-and-go URL: the fields of a body, those of ``limits``
    by their own names, ``label=NAME=VALUE`` and ``flag=--NAME=VALUE`` as often as need be,
    ``viewport=WIDTHxHEIGHT``; and browserless' ``launch``, ``timeout`` and ``--flags``.

    Raises :class:`InvalidRequest`.
    """
    _check_text(query)
    body: dict[str, Any] = {"limits": {}, "labels": _pairs(query.getall("label", []))}
    args = [*query.getall("flag", [])]
    for name, value in query.items():
        if name in _PLAIN:
            body[name] = value
        elif name in _LIMITS:
            body["limits"][name] = value
        elif name == "viewport":
            body["viewport"] = _viewport(value)
        elif name == "timeout":
            body["max_age_s"] = _milliseconds(value)
        elif name == "launch":
            args += _read_launch(value, body)
        elif name.startswith("--"):
            args.append(f"{name}={value}" if value else name)
        elif name not in _ELSEWHERE | _NO_MATTER | {"label", "flag"}:
            raise InvalidRequest(f"There is no parameter {name!r}.")
    _sort_args(args, body)
    try:
        return msgspec.convert(body, CreateSession, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The parameters are not a session request: {error}.") from error


def _check_text(query: MultiMapping[str]) -> None:
    try:
        "".join(f"{name}{value}" for name, value in query.items()).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A parameter is not UTF-8.") from None


def _milliseconds(value: str) -> float:
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(f"timeout={value[:40]!r} is not a number of milliseconds.")
    return float(value) / 1000


def _decode_launch(value: str) -> dict[str, Any]:
    """``launch`` is JSON, or the same in base64."""
    try:
        text = value if value.lstrip().startswith("{") else base64.b64decode(value, validate=True)
        launch = json.loads(text)
        json.dumps(launch, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, binascii.Error, RecursionError) as error:
        raise InvalidRequest(f"launch is neither JSON nor base64 of JSON: {error}.") from error
    if not isinstance(launch, dict):
        raise InvalidRequest("launch is not an object.")
    return launch


def _read_launch(value: str, body: dict[str, Any]) -> list[str]:
    """Fills ``body`` from a browserless ``launch``; its ``args``."""
    launch = _decode_launch(value)
    args = launch.pop("args", None) or []
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise InvalidRequest("launch.args is not a list of flags.")
    for name, given in launch.items():
        if name in ("ignoreHTTPSErrors", "acceptInsecureCerts"):
            body["ignore_certificate_errors"] = given
        elif name == "defaultViewport" and isinstance(given, dict):
            body["viewport"] = _launch_viewport(given)
        elif name == "userDataDir":
            raise InvalidRequest("launch.userDataDir names a folder.", remedy="Use profile=NAME.")
        elif name not in _NO_MATTER | {"timeout", "defaultViewport"} and given:
            raise InvalidRequest(f"launch.{name} is not something chromepool can do.")
    return args


def _launch_viewport(given: dict[str, Any]) -> dict[str, Any]:
    names = {"deviceScaleFactor": "device_scale_factor", "isMobile": "mobile"}
    known = {names.get(name, name): value for name, value in given.items()}
    return {name: value for name, value in known.items() if name not in ("hasTouch", "isLandscape")}


def _sort_args(args: list[str], body: dict[str, Any]) -> None:
    """Flags that are options become options; those that are the daemon's own are left out."""
    flags = []
    for arg in args:
        name, equals, value = arg.partition("=")
        if name in _AS_OPTIONS:
            body[_AS_OPTIONS[name]] = value if equals else True
        elif name not in _OURS:
            flags.append(arg)
    proxy = body.get("proxy")
    if isinstance(proxy, str) and "://" not in proxy:
        body["proxy"] = f"http://{proxy}"  # what Chrome itself takes it for
    body["flags"] = flags


def _limits(request: LimitsRequest, settings: Settings) -> Limits:
    most = settings.session_limits
    asked = {n: v for n, v in msgspec.structs.asdict(request).items() if v is not None}
    limits = dataclasses.replace(most, **asked)
    name = limits.beyond(most)
    if name:
        value, allowed = asked[name], getattr(most, name)
        raise InvalidRequest(f"limits.{name} = {value} is over the operator's {allowed}.")
    return limits


def _launch(body: CreateSession, owner: str, settings: Settings) -> ChromeOptions:
    folder = re.sub(r"[^A-Za-z0-9.-]", "_", owner)
    launch = ChromeOptions(
        proxy=body.proxy or "",
        proxy_bypass=body.proxy_bypass or "",
        ignore_certificate_errors=body.ignore_certificate_errors,
        flags=tuple(body.flags),
        profile=f"{folder}/{body.profile}" if body.profile else "",
    )
    launches.check(launch, settings.allowed_flags)
    return launch


def _emulation(body: CreateSession) -> Emulation:
    asked = body.viewport
    return Emulation(
        viewport=None if asked is None else Viewport(**msgspec.structs.asdict(asked)),
        user_agent=body.user_agent or "",
        locale=body.locale or "",
        timezone=body.timezone or "",
    )


def _capture_options(body: CreateSession, settings: Settings) -> CaptureOptions:
    scripts = Scripts(settings.max_scripts, settings.max_script_bytes)
    for script in body.scripts:  # here, before there is a Chrome
        scripts.add(Script(script.name, script.source, script.world))
    capture = None if body.capture is None else make_wanted(body.capture)
    return CaptureOptions(tuple(scripts.all()), capture, body.console)


def _within(name: str, asked: float | None, standard: float, most: float) -> float:
    """What is asked for, or the standard; raises above ``most``, where 0 is no limit."""
    if asked is None:
        return standard
    if most and asked > most:
        raise InvalidRequest(f"{name} = {asked:g} is over the operator's {most:g}.")
    return asked


def make_spec(
    body: CreateSession, owner: str, settings: Settings, grace_s: float | None = None
) -> SessionSpec:
    """The order for a request; raises :class:`InvalidRequest` beyond the operator's bounds."""
    longest = settings.longest_idle_timeout_s
    idle_s = _within("idle_timeout_s", body.idle_timeout_s, settings.idle_timeout_s, longest)
    most_s = settings.max_age_s
    options = msgspec.to_builtins(body)
    return SessionSpec(
        owner=owner,
        limits=_limits(body.limits, settings),
        labels=body.labels,
        chrome_options=_launch(body, owner, settings),
        emulation=_emulation(body),
        capture_options=_capture_options(body, settings),
        downloads=body.downloads or "",
        idle_timeout_s=idle_s,
        max_age_s=_within("max_age_s", body.max_age_s, most_s, most_s),
        grace_s=grace_s,
        options={n: v for n, v in options.items() if n not in ("labels", "limits", "scripts")},
    )


def read_seconds(text: str | None, name: str, most: float) -> float:
    """Seconds in a parameter, 0.0 without one; more than ``most`` counts as ``most``."""
    if text is None:
        return 0.0
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(f"{name}={text[:40]!r} is not a number of seconds.")
    return min(float(text), most)


def preferred_wait(prefer: str | None) -> str | None:
    """The ``wait`` in a ``Prefer`` header (RFC 7240, 4.3)."""
    for preference in (prefer or "").split(","):
        name, equals, value = preference.partition(";")[0].partition("=")
        if equals and name.strip().lower() == "wait":
            return value.strip().strip('"')
    return None
