"""The applications of both listeners: each route bound to its handler."""

from aiohttp import web
from aiohttp.typedefs import Middleware

from chromepool.gateway.http.admin import AdminHandlers
from chromepool.gateway.http.artifacts import ArtifactHandlers
from chromepool.gateway.http.control import Control
from chromepool.gateway.http.devtools import DevTools
from chromepool.gateway.http.events import EventHandlers
from chromepool.gateway.http.history import HistoryHandlers
from chromepool.gateway.http.identity import Identify, by_token
from chromepool.gateway.http.origin_check import gatekeeper
from chromepool.gateway.http.problems import PROBLEM, Handler, problems
from chromepool.gateway.http.rendering import RenderingHandlers
from chromepool.gateway.http.services import Services
from chromepool.schema import routes
from chromepool.schema.routes import Route

_PARTS = (ArtifactHandlers, RenderingHandlers, EventHandlers, HistoryHandlers, AdminHandlers)
_NAMED = {name.lower(): value for name, value in vars(routes).items() if isinstance(value, Route)}
"""The control API by the names of its handlers: ``SHOW_SESSION`` is served by ``show_session``."""


def control_handlers(
    services: Services, identify: Identify, authority: str = ""
) -> dict[Route, Handler]:
    """Bind every route of the control API to the handler of its name."""
    parts = [Control(services, identify, authority), *(part(services, identify) for part in _PARTS)]
    bound = {}
    for name, route in _NAMED.items():
        [bound[route]] = [getattr(part, name) for part in parts if hasattr(part, name)]
    return bound


def devtools_handlers(devtools: DevTools) -> dict[Route, Handler]:
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


def _add(app: web.Application, handlers: dict[Route, Handler], *, head: bool) -> None:
    """Feed the router; with ``head``, every GET also answers HEAD."""
    for route, handler in handlers.items():
        if head and route.method == "GET":
            app.router.add_get(route.path, handler)
        else:
            app.router.add_route(route.method, route.path, handler)


def _application(services: Services, *checks: Middleware) -> web.Application:
    """Make an application without routes, which counts its problem documents."""
    most = services.pool.runtime.settings.max_body_bytes
    app = web.Application(middlewares=[problems, *checks], client_max_size=most)

    async def count(_: web.Request, response: web.StreamResponse) -> None:
        if PROBLEM in response:
            services.metrics.count_problem(response[PROBLEM])

    app.on_response_prepare.append(count)
    return app


def control_app(services: Services, identify: Identify, authority: str = "") -> web.Application:
    """Make the application of the control API, for a socket of its own."""
    app = _application(services)
    _add(app, control_handlers(services, identify, authority), head=True)
    return app


def devtools_app(services: Services) -> web.Application:
    """Make the application of the DevTools endpoint, with the control API where it is offered."""
    settings = services.pool.runtime.settings
    app = _application(services, gatekeeper(settings))
    # A HEAD request must not open a WebSocket or close a tab.
    _add(app, devtools_handlers(DevTools(services)), head=False)
    if settings.control_tcp or settings.metrics_tcp:
        handlers = control_handlers(services, by_token(services.digests))
        only_metrics = {routes.METRICS: handlers[routes.METRICS]}
        _add(app, handlers if settings.control_tcp else only_metrics, head=True)
    return app
