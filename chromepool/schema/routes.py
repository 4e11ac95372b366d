"""The routes of the control API, each declared once.

The gateway's router, the OpenAPI document, the reference, the parsing of queries and the client's
URLs are all made from this table.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from chromepool import errors
from chromepool.schema import admin, artifacts, history, session
from chromepool.schema.parameters import SessionPath


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A route: its address, what it takes and what it answers."""

    method: str
    path: str
    summary: str = ""
    answer: type | None = None
    """Type of the JSON in the answer; None where the answer is of another kind, or empty."""
    status: int = 200
    _: dataclasses.KW_ONLY
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
    refusals: tuple[type[errors.ChromepoolError], ...] = ()
    """Errors that the route may answer with, apart from those that every route may."""
    public: bool = False
    """True if the route does not identify its caller."""

    def url(self, query: Mapping[str, object] | None = None, **parameters: str) -> str:
        """Fill in the path, quoted, and append the query without its empty values."""
        quoted = {name: urllib.parse.quote(text, safe="") for name, text in parameters.items()}
        path = self.path.format(**quoted)
        given = {name: value for name, value in (query or {}).items() if value}
        return f"{path}?{urllib.parse.urlencode(given)}" if given else path


_NO_SESSION = (errors.SessionNotFound,)
_NOT_LIVE = (errors.SessionNotFound, errors.SessionNotReady)
_NO_ITEM = (errors.SessionNotFound, errors.ItemNotFound)
_NO_SCRIPT = (errors.SessionNotFound, errors.ScriptNotFound)
_CHROME = (errors.BrowserGone, errors.NoAnswer, errors.CommandFailed)
_NEW_SCRIPT = (errors.SessionNotFound, errors.InvalidRequest, errors.StoreFull, *_CHROME)
_PAGE = (errors.SessionNotFound, errors.TargetNotFound, errors.InvalidRequest, *_CHROME)


def _of_session(
    method: str,
    path: str,
    summary: str,
    answer: type | None = None,
    status: int = 200,
    *,
    parameters: type[msgspec.Struct] = SessionPath,
    refusals: tuple[type[errors.ChromepoolError], ...] = _NO_SESSION,
    **more: Any,
) -> Route:
    """Declare a route below ``/v1/sessions/{id}``."""
    path = "/v1/sessions/{id}" + path
    more |= {"parameters": parameters, "refusals": refusals}
    return Route(method, path, summary, answer, status, **more)


# -- sessions --

CREATE_SESSION = Route(
    "POST",
    "/v1/sessions",
    "Create a session",
    session.SessionView,
    201,
    query=session.CreateParams,
    headers=session.CreateHeaders,
    body=session.CreateSession,
    body_needed=False,
    refusals=errors.CREATION,
)
LIST_SESSIONS = Route(
    "GET",
    "/v1/sessions",
    "List sessions",
    session.SessionList,
    query=session.ListParams,
    refusals=(errors.InvalidRequest,),
)
SHOW_SESSION = _of_session("GET", "", "Show a session", session.SessionView, refusals=_NOT_LIVE)
DELETE_SESSION = _of_session(
    "DELETE",
    "",
    "End a session and wait until nothing of it is left",
    None,
    204,
    refusals=_NOT_LIVE,
)
KEEP_ALIVE = _of_session(
    "POST",
    "/keepalive",
    "Restart the idle timeout of a session",
    session.SessionView,
    refusals=_NOT_LIVE,
)

# -- artifacts of a session --

LIST_SCRIPTS = _of_session("GET", "/scripts", "List persistent scripts", artifacts.ScriptList)
ADD_SCRIPT = _of_session(
    "POST",
    "/scripts",
    "Add a persistent script",
    artifacts.ScriptView,
    201,
    body=artifacts.AddScript,
    refusals=(errors.ScriptExists, *_NEW_SCRIPT),
)
SHOW_SCRIPT = _of_session(
    "GET",
    "/scripts/{name}",
    "Show a persistent script",
    artifacts.ScriptView,
    parameters=artifacts.ScriptPath,
    refusals=_NO_SCRIPT,
)
PUT_SCRIPT = _of_session(
    "PUT",
    "/scripts/{name}",
    "Replace a persistent script, or add it (201)",
    artifacts.ScriptView,
    also=(201,),
    parameters=artifacts.ScriptPath,
    body=artifacts.PutScript,
    refusals=_NEW_SCRIPT,
)
REMOVE_SCRIPT = _of_session(
    "DELETE",
    "/scripts/{name}",
    "Remove a persistent script from all pages",
    None,
    204,
    parameters=artifacts.ScriptPath,
    refusals=(*_NO_SCRIPT, *_CHROME),
)
LIST_RESPONSES = _of_session(
    "GET",
    "/responses",
    "List captured responses",
    artifacts.ResponseList,
    query=artifacts.ResponsesParams,
    refusals=(errors.SessionNotFound, errors.InvalidRequest),
)
CLEAR_RESPONSES = _of_session("DELETE", "/responses", "Remove all captured responses", None, 204)
SHOW_RESPONSE = _of_session(
    "GET",
    "/responses/{number}",
    "Show a captured response",
    artifacts.ResponseView,
    parameters=artifacts.ResponsePath,
    refusals=_NO_ITEM,
)
RESPONSE_BODY = _of_session(
    "GET",
    "/responses/{number}/body",
    "Fetch the body of a captured response, in its own content type",
    media="*/*",
    parameters=artifacts.ResponsePath,
    refusals=_NO_ITEM,
)
REMOVE_RESPONSE = _of_session(
    "DELETE",
    "/responses/{number}",
    "Remove a captured response",
    None,
    204,
    parameters=artifacts.ResponsePath,
    refusals=_NO_ITEM,
)
EXPORT_HAR = _of_session("GET", "/har", "Export captured responses as HAR 1.2")
LIST_CONSOLE = _of_session(
    "GET",
    "/console",
    "List console messages",
    artifacts.ConsoleList,
    query=artifacts.ConsoleParams,
)
CLEAR_CONSOLE = _of_session("DELETE", "/console", "Remove all console messages", None, 204)
SHOW_STDERR = _of_session(
    "GET", "/stderr", "Show the last 8 KiB of Chrome's stderr", media="text/plain"
)
LIST_DOWNLOADS = _of_session(
    "GET", "/downloads", "List downloaded files", artifacts.DownloadList, refusals=_NO_ITEM
)
FETCH_DOWNLOAD = _of_session(
    "GET",
    "/downloads/{name}",
    "Fetch a downloaded file",
    media="application/octet-stream",
    parameters=artifacts.DownloadPath,
    refusals=_NO_ITEM,
)
REMOVE_DOWNLOAD = _of_session(
    "DELETE",
    "/downloads/{name}",
    "Remove a downloaded file",
    None,
    204,
    parameters=artifacts.DownloadPath,
    refusals=_NO_ITEM,
)

# -- rendering --

SCREENSHOT = _of_session(
    "GET",
    "/screenshot",
    "Take a screenshot of a page",
    media="image/*",
    query=artifacts.ScreenshotParams,
    refusals=_PAGE,
)
PDF = _of_session(
    "GET",
    "/pdf",
    "Print a page as PDF",
    media="application/pdf",
    query=artifacts.PdfParams,
    refusals=_PAGE,
)
CONTENT = _of_session(
    "GET",
    "/content",
    "Show the document of a page as HTML",
    media="text/html",
    query=artifacts.PageParams,
    refusals=_PAGE,
)

# -- events and history --

STREAM_EVENTS = Route(
    "GET",
    "/v1/events",
    "Stream events as server-sent events",
    media="text/event-stream",
    query=history.EventsParams,
    refusals=(errors.InvalidRequest, errors.TooManyListeners),
)
LIST_HISTORY = Route(
    "GET",
    "/v1/history",
    "List sessions of the past, the newest first",
    history.HistoryPage,
    query=history.HistoryParams,
    refusals=(errors.InvalidRequest, errors.HistoryUnavailable),
)
SHOW_HISTORY = Route(
    "GET",
    "/v1/history/{id}",
    "Show a session of the past, with its events",
    history.PastSessionWithEvents,
    parameters=SessionPath,
    refusals=(errors.SessionNotFound, errors.HistoryUnavailable),
)

# -- the daemon --

SHOW_DRAIN = Route(
    "GET",
    "/v1/drain",
    "Show the progress of a drain",
    admin.DrainView,
    query=admin.DrainParams,
    refusals=(errors.InvalidRequest, errors.ShuttingDown, errors.Restarting),
)
DRAIN = Route(
    "POST",
    "/v1/drain",
    "Refuse new sessions, and end the remaining ones at a deadline if there is one",
    admin.DrainView,
    202,
    body=admin.DrainRequest,
    body_needed=False,
    refusals=(errors.InvalidRequest, errors.Forbidden),
)
CANCEL_DRAIN = Route(
    "DELETE", "/v1/drain", "Cancel a drain", None, 204, refusals=(errors.Forbidden,)
)
RELOAD = Route(
    "POST",
    "/v1/reload",
    "Reload the settings with a new gateway; sessions continue",
    admin.ReloadView,
    202,
    refusals=(errors.Forbidden, errors.ReloadRefused),
)
LIST_QUEUE = Route("GET", "/v1/queue", "List callers that wait for a slot", admin.QueueView)
SHOW_STATUS = Route("GET", "/v1/status", "Show the state of the daemon", admin.StatusView)
OPENAPI = Route("GET", "/openapi.json", "Describe this API as OpenAPI 3.1", public=True)
HEALTHZ = Route("GET", "/healthz", "Check that the gateway answers", admin.Health, public=True)
READYZ = Route(
    "GET",
    "/readyz",
    "Check that another session would be admitted",
    admin.Health,
    public=True,
    refusals=errors.REFUSALS,
)
METRICS = Route("GET", "/metrics", "Metrics in Prometheus' text format", media="text/plain")

CONTROL = tuple(value for value in globals().values() if isinstance(value, Route))
"""All routes of the control API."""
