"""The API's types for artifacts: scripts, responses, console messages, downloads, pictures."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chromepool.errors import InvalidRequest
from chromepool.schema.fields import END, SessionPath, about

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}" + END
_Url = Annotated[
    str, Meta(min_length=1, max_length=2048, title="a pattern of 1 to 2048 characters")
]
_Status = Annotated[
    str, Meta(pattern=r"^[1-5]([0-9]{2}|xx)" + END, title="a status such as 404 or 5xx")
]
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
"""Network.ResourceType of CDP."""
_Dropped = Annotated[int, about("Number of items dropped because of age or lack of room.")]
_Flag = Annotated[str, Meta(extra_json_schema={"enum": ["0", "1"]})]
"""A switch in a query. ``1`` and ``true`` turn it on; any other text leaves it off."""


# -- paths and queries --


class ScriptPath(SessionPath):
    """Path of a script."""

    name: Annotated[str, about("Name of the script.", pattern=_NAME)]


class ResponsePath(SessionPath):
    """Path of a response."""

    number: Annotated[str, about("Number of the response.")]


class DownloadPath(SessionPath):
    """Path of a download."""

    name: Annotated[str, about("Name of the file.")]


class ResponsesParams(msgspec.Struct, frozen=True):
    """Query of ``GET .../responses``."""

    url: Annotated[list[_Url], about("Pattern of URLs; may be repeated.", max_length=32)] = []
    type: Annotated[list[_Type], about("Resource type; may be repeated.", max_length=32)] = []
    status: Annotated[list[_Status], about("Status; may be repeated.", max_length=32)] = []


class ConsoleParams(msgspec.Struct, frozen=True):
    """Query of ``GET .../console``."""

    level: Annotated[list[str], about("Level to show; may be repeated.")] = []


class PageParams(msgspec.Struct, frozen=True):
    """Query of the routes that render a page."""

    target: Annotated[str | UnsetType, about("Target id of the page; else the newest.")] = UNSET


class ScreenshotParams(PageParams, frozen=True):
    """Query of ``GET .../screenshot``."""

    format: Annotated[Literal["png", "jpeg", "webp"], about("Format of the picture.")] = "png"
    full: Annotated[_Flag, about("`1` for the whole page rather than what is in view.")] = "0"


class PdfParams(PageParams, frozen=True):
    """Query of ``GET .../pdf``."""

    landscape: Annotated[_Flag, about("`1` for landscape orientation.")] = "0"


# -- bodies and answers --


class PutScript(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A persistent script whose name is in the path."""

    source: Annotated[str, about("Source, up to `max_script_bytes` bytes.", min_length=1)]
    world: Annotated[
        str, about("Isolated world to run in; empty: the page's own.", max_length=64)
    ] = ""
    run_now: Annotated[bool, about("Run the script once in every open document, too.")] = False


class AddScript(PutScript, kw_only=True):
    """A new persistent script, which runs in every new document before the page's own scripts."""

    name: Annotated[
        str, about("Name of up to 64 letters, digits, `.`, `_` and `-`.", pattern=_NAME)
    ]


class ScriptView(msgspec.Struct):
    """A persistent script."""

    name: Annotated[str, about("Name of the script.")]
    source: Annotated[str, about("Source in JavaScript.")]
    world: Annotated[str, about("Isolated world it runs in; empty for the page's own.")]


class ScriptList(msgspec.Struct):
    """Persistent scripts of a session."""

    scripts: Annotated[list[ScriptView], about("Scripts in the order in which they run.")]


class CaptureRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Filter of the responses to capture; a condition that is left out matches every response."""

    urls: Annotated[list[_Url], about("Patterns of URLs, with `*` and `?`.", max_length=32)] = []
    types: Annotated[list[_Type], about("Resource types of CDP.", max_length=32)] = []
    statuses: Annotated[list[_Status], about("Statuses such as `5xx`.", max_length=32)] = []
    bodies: Annotated[bool, about("Keep the bodies, too.")] = True


class ResponseView(msgspec.Struct):
    """A captured response."""

    number: Annotated[int, about("Number of the response in its session.")]
    url: Annotated[str, about("URL of the request.")]
    method: Annotated[str, about("Method of the request.")]
    status: Annotated[int, about("HTTP status.")]
    status_text: Annotated[str, about("Reason phrase of the status.")]
    type: Annotated[str, about("Resource type of CDP.")]
    mime_type: Annotated[str, about("MIME type that Chrome found.")]
    request_headers: Annotated[dict[str, str], about("Headers of the request.")]
    response_headers: Annotated[dict[str, str], about("Headers of the response.")]
    started_at: Annotated[datetime, about("Time of the request.")]
    duration_ms: Annotated[float | None, about("Duration in milliseconds; null while it loads.")]
    timing: Annotated[dict[str, Any], about("`ResourceTiming` of CDP.")]
    protocol: Annotated[str, about("Protocol of the connection, such as `h2`.")]
    remote_address: Annotated[str, about("Address and port of the server.")]
    encoded_bytes: Annotated[int, about("Bytes received over the network.")]
    body_bytes: Annotated[int | None, about("Bytes of the body; null without a body.")]
    body_error: Annotated[str, about("Reason why there is no body.")]
    error: Annotated[str, about("Network error, if the response failed.")]


class ResponseList(msgspec.Struct):
    """Captured responses of a session."""

    responses: Annotated[list[ResponseView], about("Responses, the oldest first.")]
    dropped: _Dropped


class ConsoleView(msgspec.Struct):
    """A console message of a page."""

    number: Annotated[int, about("Number of the message in its session.")]
    at: Annotated[datetime, about("Time of the message.")]
    level: Annotated[
        str, about("`log`, `info`, `warning`, `error`, `debug`, or `exception` if uncaught.")
    ]
    text: Annotated[str, about("Text of the message, up to 8192 characters.")]
    url: Annotated[str, about("URL of the script.")]
    line: Annotated[int | None, about("Line in the script.")]
    target_id: Annotated[str, about("Target id of the page, frame or worker.")]


class ConsoleList(msgspec.Struct):
    """Console messages of a session."""

    messages: Annotated[list[ConsoleView], about("Messages, the oldest first.")]
    dropped: _Dropped


class DownloadView(msgspec.Struct):
    """A downloaded file."""

    name: Annotated[str, about("Name of the file.")]
    size: Annotated[int, about("Size in bytes.")]
    modified: Annotated[float, about("Time of the last change, in seconds since 1970.")]


class DownloadList(msgspec.Struct):
    """Downloaded files of a session."""

    downloads: Annotated[list[DownloadView], about("Files, the newest first.")]


def check_script_name(name: str) -> None:
    """Raise :class:`InvalidRequest` unless a script may have this name."""
    if not re.search(_NAME, name):
        raise InvalidRequest(
            f"{name[:64]!r} cannot be the name of a script.",
            remedy="Use up to 64 letters, digits, dots, dashes and underscores.",
        )
