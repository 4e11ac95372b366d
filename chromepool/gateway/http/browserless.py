"""The options of a session in a connect-and-go URL, as chromepool and as browserless name them."""

import base64
import binascii
import json
import re
from typing import Any

import msgspec
from multidict import MultiMapping

from chromepool.errors import InvalidRequest
from chromepool.schema.fields import parameters_of
from chromepool.schema.session import ConnectParams, CreateSession, LimitsRequest

_LIMITS = set(LimitsRequest.__struct_fields__)
_PLAIN = set(CreateSession.__struct_fields__) - {
    *("labels", "limits", "viewport", "flags", "scripts", "capture")
}
"""Options whose parameter has the same name and one value."""
_ELSEWHERE = {"token", *(parameter.name for parameter in parameters_of(ConnectParams))}
"""Parameters that are not options of the session."""
_AS_OPTIONS = {
    "--proxy-server": "proxy",
    "--proxy-bypass-list": "proxy_bypass",
    "--user-agent": "user_agent",
    "--ignore-certificate-errors": "ignore_certificate_errors",
}
"""Flags that are options of a session."""
_OURS = {
    *("--no-sandbox", "--disable-setuid-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
    *("--headless", "--hide-scrollbars", "--mute-audio", "--no-first-run", "--no-zygote"),
    *("--single-process", "--disable-background-timer-throttling"),
    *("--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"),
    *("--remote-debugging-port", "--remote-debugging-pipe"),
}
"""Flags that launch scripts set everywhere and chromepool decides by itself. They are ignored
rather than refused, so that a script that asks for no sandbox runs unchanged, in a sandbox."""
_NO_MATTER = {"headless", "slowMo", "devtools", "dumpio", "handleSIGINT", "handleSIGTERM", "pipe"}
"""Keys of a browserless ``launch`` that have no effect on a Chrome that already runs."""
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def read_connect_query(query: MultiMapping[str]) -> CreateSession:
    """Read the options of a session from the query of a connect-and-go URL.

    The parameters are the fields of a body, those of ``limits`` by their own names,
    ``label=NAME=VALUE`` and ``flag=--NAME=VALUE``, both of which may be repeated,
    ``viewport=WIDTHxHEIGHT``, and the ``launch``, ``timeout`` and ``--flags`` of browserless.

    Raises :class:`InvalidRequest`, also for a parameter that is not known.
    """
    _check_text(query)
    labels = map(_pair, query.getall("label", []))
    body: dict[str, Any] = {"limits": {}, "labels": dict(labels)}
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
        raise InvalidRequest(f"Invalid options of a session: {error}.") from error


def _check_text(query: MultiMapping[str]) -> None:
    try:
        "".join(f"{name}{value}" for name, value in query.items()).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("A parameter is not UTF-8.") from None


def _pair(label: str) -> tuple[str, str]:
    name, equals, value = label.partition("=")
    if not equals:
        raise InvalidRequest(f"label={label!r} is not label=NAME=VALUE.")
    return name, value


def _viewport(size: str) -> dict[str, Any]:
    match = _SIZE.fullmatch(size)
    if match is None:
        raise InvalidRequest(f"viewport={size!r} is not WIDTHxHEIGHT.")
    return {"width": int(match[1]), "height": int(match[2])}


def _milliseconds(value: str) -> float:
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(f"timeout={value[:40]!r} is not a number of milliseconds.")
    return float(value) / 1000


def _decode_launch(value: str) -> dict[str, Any]:
    """Decode ``launch``, which is JSON or the base64 of JSON."""
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
    """Copy the options of a browserless ``launch`` into ``body``, and return its ``args``."""
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
            raise InvalidRequest(
                "launch.userDataDir is not supported: sessions cannot choose a folder.",
                remedy="Use profile=NAME.",
            )
        elif name not in _NO_MATTER | {"timeout", "defaultViewport"} and given:
            raise InvalidRequest(f"launch.{name} is not supported.")
    return args


def _launch_viewport(given: dict[str, Any]) -> dict[str, Any]:
    names = {"deviceScaleFactor": "device_scale_factor", "isMobile": "mobile"}
    known = {name: given[name] for name in given if name not in ("hasTouch", "isLandscape")}
    return {names.get(name, name): value for name, value in known.items()}


def _sort_args(args: list[str], body: dict[str, Any]) -> None:
    """Turn flags that are options into options, and drop those that chromepool decides."""
    flags = []
    for arg in args:
        name, equals, value = arg.partition("=")
        if name in _AS_OPTIONS:
            body[_AS_OPTIONS[name]] = value if equals else True
        elif name not in _OURS:
            flags.append(arg)
    proxy = body.get("proxy")
    if isinstance(proxy, str) and "://" not in proxy:
        body["proxy"] = f"http://{proxy}"  # Chrome itself takes it for that
    body["flags"] = flags
