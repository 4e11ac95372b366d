"""The applications of both listeners: each route bound to its handler."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from chromepool.gateway.http.admin import AdminHandlers
from chromepool.gateway.http.artifacts import ArtifactHandlers
from chromepool.gateway.http.control import Control
from chromepool.gateway.http.devtools import DevTools
from chromepool.gateway.http.events import EventHandlers
from chromepool.gateway.http.history import HistoryHandlers
from chromepool.gateway.http.identity import Identify, by_token
from chromepool.gateway.http.metrics import serve_metrics
from chromepool.gateway.http.origin_check import gatekeeper
from chromepool.gateway.http.problems import Handler, problems
from chromepool.gateway.http.rendering import RenderingHandlers
from chromepool.gateway.http.services import Services
from chromepool.schema import routes
from chromepool.schema.routes import Route

Handlers = Mapping[Route, Handler]


def control_handlers(services: Services, identify: Identify, authority: str = "") -> Handlers:
    """Bind every route of the control API."""
    control = Control(services, identify, authority)
    artifacts = ArtifactHandlers(services, identify)
    rendering = RenderingHandlers(services, identify)
    history = HistoryHandlers(services, identify)
    admin = AdminHandlers(services, identify)
    return {
        routes.CREATE_SESSION: control.create,
        routes.LIST_SESSIONS: control.list,
        routes.SHOW_SESSION: control.show,
        routes.DELETE_SESSION: control.delete,
        routes.KEEP_ALIVE: control.keepalive,
        routes.LIST_SCRIPTS: artifacts.scripts,
        routes.ADD_SCRIPT: artifacts.add_script,
        routes.SHOW_SCRIPT: artifacts.script,
        routes.PUT_SCRIPT: artifacts.put_script,
        routes.REMOVE_SCRIPT: artifacts.remove_script,
        routes.LIST_RESPONSES: artifacts.responses,
        routes.CLEAR_RESPONSES: artifacts.clear_responses,
        routes.SHOW_RESPONSE: artifacts.response,
        routes.RESPONSE_BODY: artifacts.body,
        routes.REMOVE_RESPONSE: artifacts.remove_response,
        routes.EXPORT_HAR: artifacts.har,
        routes.LIST_CONSOLE: artifacts.console,
        routes.CLEAR_CONSOLE: artifacts.clear_console,
        routes.SHOW_STDERR: artifacts.stderr,
        routes.LIST_DOWNLOADS: artifacts.downloads,
        routes.FETCH_DOWNLOAD: artifacts.download,
        routes.REMOVE_DOWNLOAD: artifacts.remove_download,
        routes.SCREENSHOT: rendering.screenshot,
        routes.PDF: rendering.pdf,
        routes.CONTENT: rendering.content,
        routes.STREAM_EVENTS: EventHandlers(services, identify).events,
        routes.LIST_HISTORY: history.list,
        routes.SHOW_HISTORY: history.show,
        routes.SHOW_DRAIN: admin.draining,
        routes.DRAIN: admin.drain,
        routes.CANCEL_DRAIN: admin.undrain,
        routes.RELOAD: admin.reload,
        routes.LIST_QUEUE: control.queue,
        routes.SHOW_STATUS: control.status,
        routes.OPENAPI: control.openapi,
        routes.HEALTHZ: control.healthz,
        routes.READYZ: control.readyz,
        routes.METRICS: control.metrics,
    }


def devtools_handlers(devtools: DevTools) -> Handlers:
    """Bind the routes of the DevTools endpoint.

    Those of one session are served below its path, and at the root of its own host name.
    """
    handlers: dict[Route, Handler] = {
        Route("GET /"): devtools.root_socket,
        Route("GET /chrome"): devtools.root_socket,  # this and the next as browserless has them
        Route("GET /chromium"): devtools.root_socket,
        Route("GET /json/version{slash:/?}"): devtools.root_version,
        Route("GET /sessions/{id}/json/version{slash:/?}"): devtools.version,
    }
    for base in ("/sessions/{id}", ""):
        handlers |= {
            Route("GET " + base + "/json{list:(/list)?/?}"): devtools.list,
            Route("PUT " + base + "/json/new"): devtools.new,
            Route("GET " + base + "/json/activate/{target}"): devtools.activate,
            Route("GET " + base + "/json/close/{target}"): devtools.close,
            Route("GET " + base + "/json/protocol{slash:/?}"): devtools.protocol,
            Route("GET " + base + "/devtools/browser/{guid}"): devtools.browser_socket,
            Route("GET " + base + "/devtools/page/{target}"): devtools.page_socket,
        }
    return handlers


def _add(app: web.Application, handlers: Handlers, *, head: bool) -> None:
    """Feed the router; with ``head``, every GET also answers HEAD."""
    for route, handler in handlers.items():
        if head and route.method == "GET":
            app.router.add_get(route.path, handler)
        else:
            app.router.add_route(route.method, route.path, handler)


def control_app(services: Services, identify: Identify, authority: str = "") -> web.Application:
    """Make the application of the control API, for a socket of its own."""
    app = web.Application(
        middlewares=[problems], client_max_size=services.pool.runtime.settings.max_body_bytes
    )
    _add(app, control_handlers(services, identify, authority), head=True)
    return app


def devtools_app(services: Services) -> web.Application:
    """Make the application of the DevTools endpoint, with the control API where it is offered."""
    settings = services.pool.runtime.settings
    checks = gatekeeper(lambda: settings)
    app = web.Application(middlewares=[problems, checks], client_max_size=settings.max_body_bytes)
    # A HEAD request must not open a WebSocket or close a tab.
    _add(app, devtools_handlers(DevTools(services)), head=False)
    if settings.control_tcp:
        _add(app, control_handlers(services, by_token(services.digests)), head=True)
    elif settings.metrics_tcp:
        _add(app, {routes.METRICS: serve_metrics}, head=True)
    return app
