"""The JSON of what a session keeps, as types, like :mod:`chromepool.schema.session`."""

from __future__ import annotations

import datetime
import re
import typing
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chromepool.errors import InvalidRequest

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)"
_ScriptName = Annotated[
    str,
    Meta(pattern=NAME, description="To find it again; letters, digits, `.`, `_`, `-`; up to 64."),
]
_World = Annotated[str, Meta(max_length=64, description="Isolated world; empty: the page's own.")]
_Source = Annotated[
    str, Meta(min_length=1, description="The JavaScript; up to `max_script_bytes`.")
]
_LEVELS = "`log`, `info`, `warning`, `error`, `debug`; `exception`: an error nobody caught."
_Dropped = Annotated[int, Meta(description="How many have gone by themselves.")]
_RunNow = Annotated[bool, Meta(description="Also once in the documents that are open.")]
STATUS = r"^[1-5]([0-9]{2}|xx)$(?!\n)"
_Status = Annotated[str, Meta(pattern=STATUS)]
_Url = Annotated[str, Meta(min_length=1, max_length=2048, description="Pattern with * and ?.")]
_Type = Literal[
    "Document",
    "Stylesheet",
    "Image",
    "Media",
    "Font",
    "Script",
    "TextTrack",
    "XHR",
    "Fetch",
    "Prefetch",
    "EventSource",
    "WebSocket",
    "Manifest",
    "SignedExchange",
    "Ping",
    "CSPViolationReport",
    "Preflight",
    "FedCM",
    "Other",
]
"""CDP's Network.ResourceType."""
TYPES: tuple[str, ...] = typing.get_args(_Type)


class AddScript(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A persistent script: runs in every new document, before the page's own."""

    name: _ScriptName
    source: _Source
    world: _World = ""
    run_now: _RunNow = False


class PutScript(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The same, its name in the path."""

    source: _Source
    world: _World = ""
    run_now: _RunNow = False


class ScriptView(msgspec.Struct):
    """A persistent script."""

    name: str
    source: str
    world: str


class ScriptList(msgspec.Struct):
    """In the order in which they run."""

    scripts: list[ScriptView]


class CaptureRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which of the network's answers are kept; what is left out is every one."""

    urls: Annotated[list[_Url], Meta(max_length=32, description="Patterns with * and ?.")] = []
    types: Annotated[list[_Type], Meta(max_length=32, description="CDP's resource types.")] = []
    statuses: Annotated[
        list[_Status], Meta(max_length=32, description="Such as `404`, `5xx`.")
    ] = []
    bodies: Annotated[bool, Meta(description="With their bodies.")] = True


class ResponseView(msgspec.Struct):
    """A response that is kept."""

    number: int
    url: str
    method: str
    status: int
    status_text: str
    type: str
    mime_type: str
    request_headers: dict[str, str]
    response_headers: dict[str, str]
    started_at: datetime.datetime
    duration_ms: float | None
    timing: Annotated[dict[str, Any], Meta(description="CDP's `ResourceTiming`.")]
    protocol: str
    remote_address: str
    encoded_bytes: Annotated[int, Meta(description="As they came over the network.")]
    body_bytes: Annotated[int, Meta(description="Null while there is no body.")] | None
    body_error: Annotated[str, Meta(description="Why there will be none.")]
    error: str


class ResponseList(msgspec.Struct):
    """The oldest first."""

    responses: list[ResponseView]
    dropped: _Dropped


class ConsoleView(msgspec.Struct):
    """Something a page said."""

    number: int
    at: datetime.datetime
    level: Annotated[str, Meta(description=_LEVELS)]
    text: Annotated[str, Meta(description="Up to 8192 characters.")]
    url: str
    line: int | None
    target_id: str


class ConsoleList(msgspec.Struct):
    """The oldest first."""

    messages: list[ConsoleView]
    dropped: _Dropped


class DownloadView(msgspec.Struct):
    """A file that was downloaded."""

    name: str
    size: int
    modified: Annotated[float, Meta(description="Seconds since 1970.")]


class DownloadList(msgspec.Struct):
    """The newest first."""

    downloads: list[DownloadView]


def check_script_name(name: str) -> None:
    """Raises :class:`InvalidRequest` for what is no name."""
    if not re.search(NAME, name):
        raise InvalidRequest("A script's name is letters, digits, dots and dashes; up to 64.")
