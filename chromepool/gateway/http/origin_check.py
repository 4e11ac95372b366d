"""Checks of Host and Origin, so that no web page can use the daemon through a user's browser.

A page can make a browser on this machine send requests here: with a host name of its own that
resolves to 127.0.0.1 (DNS rebinding, visible in the Host header), or across sites, WebSockets
included (visible in the Origin header; CORS does not cover WebSockets).
"""

import ipaddress

from aiohttp import web
from aiohttp.typedefs import Middleware

from chromepool.config import Settings
from chromepool.errors import Forbidden
from chromepool.gateway.http.problems import Handler


def host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header


def _listed(value: str, setting: str) -> bool:
    names = {name.strip() for name in setting.split(",") if name.strip()}
    return "*" in names or value in names


def host_allowed(header: str, settings: Settings) -> bool:
    """Report whether a Host header names this machine in a way that no page can arrange."""
    name = host_name(header).lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or name == settings.host:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return _listed(name, settings.allowed_hosts)
    return True


def check(request: web.BaseRequest, settings: Settings) -> None:
    """Raise :class:`Forbidden` for a request that a web page may have caused."""
    if not host_allowed(request.headers.get("Host", ""), settings):
        raise Forbidden(
            "The Host header does not name this endpoint.",
            remedy="Use the IP address or localhost, or add the name to the setting allowed_hosts.",
        )
    origin = request.headers.get("Origin")
    if origin is not None and not _listed(origin, settings.allowed_origins):
        raise Forbidden(
            f"Web pages from {origin!r} may not use the endpoint.",
            remedy="Add the origin to the setting allowed_origins.",
        )


def gatekeeper(settings: Settings) -> Middleware:
    """Make the middleware that checks every request of the DevTools endpoint."""

    @web.middleware
    async def check_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        check(request, settings)
        return await handler(request)

    return check_request
