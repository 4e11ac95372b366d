"""The routes of the control API, each declared once.

The gateway's router, the OpenAPI document, the reference, the parsing of queries and the client's
URLs are all made from this table.
"""

import dataclasses
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from chromepool import errors
from chromepool.schema import admin, artifacts, history, session
from chromepool.schema.fields import SessionPath

_Errors = tuple[type[errors.ChromepoolError], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A route: its address, what it takes and what it answers."""

    address: str
    """Method and path, such as ``GET /v1/sessions/{id}``."""
    summary: str = ""
    answer: type | None = None
    """Type of the JSON in the answer; None where the answer is of another kind, or empty."""
    _: dataclasses.KW_ONLY
    status: int = 200
    also: tuple[int, ...] = ()
    """Other statuses of the same answer."""
    media: str = "application/json"
    """Content type of the answer."""
    parameters: type[msgspec.Struct] | None = None
    """Parameters in the path."""
    query: type[msgspec.Struct] | None = None
    headers: type[msgspec.Struct] | None = None
    body: type | None = None
    body_needed: bool = True
    refusals: _Errors = ()
    """Errors that the route may answer with, apart from those that every route may."""
    public: bool = False
    """True if the route does not identify its caller."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.address.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path, with its parameters in braces."""
        return self.address.partition(" ")[2]

    def url(self, query: Mapping[str, object] | None = None, **parameters: str) -> str:
        """Fill in the path, quoted, and append the query without its empty values."""
        quoted = {name: urllib.parse.quote(text, safe="") for name, text in parameters.items()}
        path = self.path.format(**quoted)
        given = {name: value for name, value in (query or {}).items() if value}
        return f"{path}?{urllib.parse.urlencode(given)}" if given else path


_NOT_LIVE = (errors.SessionNotFound, errors.SessionNotReady)
_NO_ITEM = (errors.SessionNotFound, errors.ItemNotFound)
_NO_SCRIPT = (errors.SessionNotFound, errors.ScriptNotFound)
_INVALID = (errors.SessionNotFound, errors.InvalidRequest)
_CHROME = (errors.BrowserGone, errors.NoAnswer, errors.CommandFailed)
_NEW_SCRIPT = (*_INVALID, errors.StoreFull, *_CHROME)
_PAGE = (*_INVALID, errors.TargetNotFound, *_CHROME)
_PATHS: dict[str, tuple[type[msgspec.Struct], _Errors]] = {
    "": (SessionPath, (errors.SessionNotFound,)),
    "/scripts/{name}": (artifacts.ScriptPath, _NO_SCRIPT),
    "/responses/{number}": (artifacts.ResponsePath, _NO_ITEM),
    "/responses/{number}/body": (artifacts.ResponsePath, _NO_ITEM),
    "/downloads/{name}": (artifacts.DownloadPath, _NO_ITEM),
    "/downloads": (SessionPath, _NO_ITEM),
    "/keepalive": (SessionPath, _NOT_LIVE),
    **dict.fromkeys(("/screenshot", "/pdf", "/content"), (SessionPath, _PAGE)),
}
"""Parameters and usual refusals of paths below a session; those of "" are for all others."""


def _of(address: str, summary: str, answer: type | None = None, **more: Any) -> Route:
    """Declare a route of a session, whose path begins below ``/v1/sessions/{id}``."""
    method, _, path = address.partition(" ")
    parameters, refusals = _PATHS.get(path, _PATHS[""])
    told: dict[str, Any] = {"parameters": parameters, "refusals": refusals, **more}
    return Route(f"{method} /v1/sessions/{{id}}{path}", summary, answer, **told)


# -- sessions --

CREATE_SESSION = Route(
    "POST /v1/sessions",
    "Create a session",
    session.SessionView,
    status=201,
    query=session.CreateParams,
    headers=session.CreateHeaders,
    body=session.CreateSession,
    body_needed=False,
    refusals=errors.CREATION,
)
LIST_SESSIONS = Route(
    "GET /v1/sessions",
    "List sessions",
    session.SessionList,
    query=session.ListParams,
    refusals=(errors.InvalidRequest,),
)
SHOW_SESSION = _of("GET", "Show a session", session.SessionView, refusals=_NOT_LIVE)
DELETE_SESSION = _of(
    "DELETE", "End a session, and wait until nothing of it is left", status=204, refusals=_NOT_LIVE
)
KEEP_ALIVE = _of("POST /keepalive", "Restart the idle timeout", session.SessionView)

# -- artifacts of a session --

LIST_SCRIPTS = _of("GET /scripts", "List persistent scripts", artifacts.ScriptList)
ADD_SCRIPT = _of(
    "POST /scripts",
    "Add a persistent script",
    artifacts.ScriptView,
    status=201,
    body=artifacts.AddScript,
    refusals=(errors.ScriptExists, *_NEW_SCRIPT),
)
SHOW_SCRIPT = _of("GET /scripts/{name}", "Show a persistent script", artifacts.ScriptView)
PUT_SCRIPT = _of(
    "PUT /scripts/{name}",
    "Replace a persistent script, or add it (201)",
    artifacts.ScriptView,
    also=(201,),
    body=artifacts.PutScript,
    refusals=_NEW_SCRIPT,
)
REMOVE_SCRIPT = _of(
    "DELETE /scripts/{name}",
    "Remove a persistent script from all pages",
    status=204,
    refusals=(*_NO_SCRIPT, *_CHROME),
)
LIST_RESPONSES = _of(
    "GET /responses",
    "List captured responses",
    artifacts.ResponseList,
    query=artifacts.ResponsesParams,
    refusals=_INVALID,
)
CLEAR_RESPONSES = _of("DELETE /responses", "Remove all captured responses", status=204)
SHOW_RESPONSE = _of("GET /responses/{number}", "Show a captured response", artifacts.ResponseView)
RESPONSE_BODY = _of(
    "GET /responses/{number}/body",
    "Fetch the body of a captured response, in its own content type",
    media="*/*",
)
REMOVE_RESPONSE = _of("DELETE /responses/{number}", "Remove a captured response", status=204)
EXPORT_HAR = _of("GET /har", "Export captured responses as HAR 1.2")
LIST_CONSOLE = _of(
    "GET /console", "List console messages", artifacts.ConsoleList, query=artifacts.ConsoleParams
)
CLEAR_CONSOLE = _of("DELETE /console", "Remove all console messages", status=204)
SHOW_STDERR = _of("GET /stderr", "Show the last 8 KiB of Chrome's stderr", media="text/plain")
LIST_DOWNLOADS = _of("GET /downloads", "List downloaded files", artifacts.DownloadList)
FETCH_DOWNLOAD = _of(
    "GET /downloads/{name}", "Fetch a downloaded file", media="application/octet-stream"
)
REMOVE_DOWNLOAD = _of("DELETE /downloads/{name}", "Remove a downloaded file", status=204)

# -- rendering --

SCREENSHOT = _of(
    "GET /screenshot", "Take a screenshot", media="image/*", query=artifacts.ScreenshotParams
)
PDF = _of("GET /pdf", "Print a page as PDF", media="application/pdf", query=artifacts.PdfParams)
CONTENT = _of(
    "GET /content",
    "Show the document of a page as HTML",
    media="text/html",
    query=artifacts.PageParams,
)

# -- events and history --

STREAM_EVENTS = Route(
    "GET /v1/events",
    "Stream events as server-sent events",
    media="text/event-stream",
    query=history.EventsParams,
    refusals=(errors.InvalidRequest, errors.TooManyListeners),
)
LIST_HISTORY = Route(
    "GET /v1/history",
    "List sessions of the past, the newest first",
    history.HistoryPage,
    query=history.HistoryParams,
    refusals=(errors.InvalidRequest, errors.HistoryUnavailable),
)
SHOW_HISTORY = Route(
    "GET /v1/history/{id}",
    "Show a session of the past, with its events",
    history.PastSessionWithEvents,
    parameters=SessionPath,
    refusals=(errors.SessionNotFound, errors.HistoryUnavailable),
)

# -- the daemon --

SHOW_DRAIN = Route(
    "GET /v1/drain",
    "Show the progress of a drain",
    admin.DrainView,
    query=admin.DrainParams,
    refusals=(errors.InvalidRequest, errors.ShuttingDown, errors.Restarting),
)
DRAIN = Route(
    "POST /v1/drain",
    "Refuse new sessions, and end the remaining ones at a deadline if there is one",
    admin.DrainView,
    status=202,
    body=admin.DrainRequest,
    body_needed=False,
    refusals=(errors.InvalidRequest, errors.Forbidden),
)
CANCEL_DRAIN = Route("DELETE /v1/drain", "Cancel a drain", status=204, refusals=(errors.Forbidden,))
RELOAD = Route(
    "POST /v1/reload",
    "Reload the settings with a new gateway; sessions continue",
    admin.ReloadView,
    status=202,
    refusals=(errors.Forbidden, errors.ReloadRefused),
)
LIST_QUEUE = Route("GET /v1/queue", "List callers that wait for a slot", admin.QueueView)
SHOW_STATUS = Route("GET /v1/status", "Show the state of the daemon", admin.StatusView)
OPENAPI = Route("GET /openapi.json", "Describe this API as OpenAPI 3.1", public=True)
HEALTHZ = Route("GET /healthz", "Check that the gateway answers", admin.Health, public=True)
READYZ = Route(
    "GET /readyz",
    "Check that another session would be admitted",
    admin.Health,
    public=True,
    refusals=errors.REFUSALS,
)
METRICS = Route("GET /metrics", "Metrics in Prometheus' text format", media="text/plain")

CONTROL = tuple(value for value in globals().values() if isinstance(value, Route))
"""The whole table, in the order of its declarations."""
