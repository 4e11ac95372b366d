"""The DevTools endpoint: for each session what Chrome serves on its port, and connect-and-go."""

from __future__ import annotations

import re
import secrets
import urllib.parse
from typing import Any

import msgspec
from aiohttp import web

from chromepool.errors import (
    BrowserGone,
    CommandFailed,
    NoAnswer,
    SessionNotFound,
    TargetNotFound,
    TooManyClients,
)
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.http import session_requests
from chromepool.gateway.http.control import Control
from chromepool.gateway.http.identity import by_token, by_token_or_address
from chromepool.gateway.http.metrics import serve_metrics
from chromepool.gateway.http.origin_check import gatekeeper, host_name
from chromepool.gateway.http.problems import NUMBER, problems
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.views import json_response
from chromepool.gateway.http.websocket import ClientConnection
from chromepool.gateway.sessions.events import ClientLeft
from chromepool.gateway.sessions.protocol import ProtocolReader
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason, State

_NAMED = re.compile(r"([0-9a-f]{32})\.localhost\.?")
_HIDDEN = {"browser", "tab"}
"""Target types that Chrome's own list leaves out."""


def _version(answer: dict[str, Any], url: str) -> dict[str, str]:
    revision = str(answer.get("revision", "")).lstrip("@")
    return {
        "Browser": answer.get("product", ""),
        "Protocol-Version": answer.get("protocolVersion", ""),
        "User-Agent": answer.get("userAgent", ""),
        "V8-Version": answer.get("jsVersion", ""),
        "WebKit-Version": f"537.36 (@{revision})",
        "webSocketDebuggerUrl": url,
    }


def named_session(host: str) -> str:
    """The session in a host name such as ``0123...cdef.localhost:9222``; "" where there is none."""
    match = _NAMED.fullmatch(host_name(host).lower())
    return match[1] if match else ""


class DevTools:
    """The handlers of the TCP port."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = by_token_or_address(services)
        self._protocol = ProtocolReader(services.pool.runtime, services.pool.registry.next_key)
        self._last_version: dict[str, Any] | None = None

    def app(self) -> web.Application:
        """The application to serve."""
        pool = self._pool
        checks = gatekeeper(lambda: pool.runtime.settings)
        size = pool.runtime.settings.max_body_bytes
        app = web.Application(middlewares=[problems, checks], client_max_size=size)
        add = app.router.add_route
        for path in ("/", "/chrome", "/chromium"):  # the last two as browserless has them
            add("GET", path, self.root_socket)
        add("GET", "/json/version{slash:/?}", self.root_version)
        self._add_session_routes(app, "/sessions/{id}")
        self._add_session_routes(app, "")  # below a host name of the session's own
        add("GET", "/sessions/{id}/json/version{slash:/?}", self.version)
        if pool.runtime.settings.control_tcp:
            Control(self._services, by_token(self._services.digests)).add_routes(app)
        elif pool.runtime.settings.metrics_tcp:
            add("GET", "/metrics", serve_metrics)
        return app

    def _add_session_routes(self, app: web.Application, base: str) -> None:
        add = app.router.add_route
        add("GET", base + "/json{list:(/list)?/?}", self.list)
        add("*", base + "/json/new", self.new)
        add("GET", base + "/json/activate/{target}", self.activate)
        add("GET", base + "/json/close/{target}", self.close)
        add("GET", base + "/json/protocol{slash:/?}", self.protocol)
        add("GET", base + "/devtools/browser/{guid}", self.browser_socket)
        add("GET", base + "/devtools/page/{target}", self.page_socket)

    # -- /json --

    def _live(self, request: web.Request) -> tuple[Session, Browser]:
        """The session that a request names, in its path or by its host name."""
        session_id = request.match_info.get("id") or named_session(request.host)
        if not session_id:
            raise SessionNotFound(
                "No session is named.", remedy="Use /sessions/ID/..., or the host ID.localhost."
            )
        if self._pool.runtime.settings.require_token:
            self._check_token(request, session_id)
        session, browser = self._pool.registry.live(session_id)
        request[NUMBER] = session.key
        return session, browser

    def _check_token(self, request: web.Request, session_id: str) -> None:
        """A session of a token's needs that token; for any other its id and some token will do."""
        identity = self._identify(request)
        if self._pool.registry.get(session_id).owner.startswith("token:"):
            identity.find(self._pool.registry, session_id)

    def _base(self, request: web.Request, session: Session) -> str:
        """Host and path below which the session is.

        Asked for by a name of its own, it tells the address that the name stands for: chromedriver
        and Node look up ``ID.localhost`` in a resolver that may not know it.
        """
        host = request.host
        if named_session(host):
            port = host.rpartition(":")[2] if ":" in host else "80"
            host = (
                f"[::1]:{port}" if ":" in self._pool.runtime.settings.host else f"127.0.0.1:{port}"
            )
        return f"{host}/sessions/{session.id}"

    async def root_version(self, request: web.Request) -> web.Response:
        """``/json/version``: where to connect for a session of one's own. The query goes along, so
        that a client given only this address keeps its options and its token."""
        if named_session(request.host):
            return await self.version(request)
        query = request.rel_url.raw_query_string
        url = f"ws://{request.host}/{'?' if query else ''}{query}"
        return json_response(_version(await self._any_version(), url))

    async def _any_version(self) -> dict[str, Any]:
        """What the daemon's Chrome answers. The last answer of any session will do; before the
        first there is none, and the fields stay empty rather than cost a start."""
        for session in self._pool.registry.all():
            if session.browser is not None and session.state is State.READY:
                try:
                    self._last_version = await session.browser.call("Browser.getVersion")
                    break
                except (BrowserGone, CommandFailed, NoAnswer):
                    continue
        return self._last_version or {}

    async def version(self, request: web.Request) -> web.Response:
        """``/sessions/{id}/json/version``."""
        session, browser = self._live(request)
        url = f"ws://{self._base(request, session)}/devtools/browser/{session.guid}"
        return json_response(_version(await browser.call("Browser.getVersion"), url))

    def _target(self, request: web.Request, session: Session, info: dict[str, Any]) -> object:
        path = f"{self._base(request, session)}/devtools/page/{info['targetId']}"
        return {
            "description": "",
            "devtoolsFrontendUrl": f"devtools://devtools/bundled/inspector.html?ws={path}",
            "id": info["targetId"],
            "title": info.get("title", ""),
            "type": info.get("type", ""),
            "url": info.get("url", ""),
            "webSocketDebuggerUrl": f"ws://{path}",
        }

    async def list(self, request: web.Request) -> web.Response:
        """``/sessions/{id}/json/list``."""
        session, browser = self._live(request)
        infos = (await browser.call("Target.getTargets"))["targetInfos"]
        shown = [info for info in infos if info["type"] not in _HIDDEN]
        return json_response([self._target(request, session, info) for info in shown])

    async def new(self, request: web.Request) -> web.Response:
        """``PUT /sessions/{id}/json/new?URL``. GET is refused, as Chrome does since 111."""
        if request.method != "PUT":
            raise web.HTTPMethodNotAllowed(
                request.method, ["PUT"], text="Opening a page takes PUT: a link must not do it."
            )
        session, browser = self._live(request)
        url = urllib.parse.unquote(request.rel_url.raw_query_string) or "about:blank"
        target = (await browser.call("Target.createTarget", {"url": url}))["targetId"]
        info = await browser.call("Target.getTargetInfo", {"targetId": target})
        session.touch()
        return json_response(self._target(request, session, info["targetInfo"]))

    async def _on_target(self, request: web.Request, method: str, said: str) -> web.Response:
        session, browser = self._live(request)
        target = request.match_info["target"]
        try:
            await browser.call(method, {"targetId": target})
        except CommandFailed as error:
            raise TargetNotFound(f"No such target id: {target}.") from error
        session.touch()
        return web.Response(text=said)

    async def activate(self, request: web.Request) -> web.Response:
        """``/sessions/{id}/json/activate/{target}``."""
        return await self._on_target(request, "Target.activateTarget", "Target activated")

    async def close(self, request: web.Request) -> web.Response:
        """``/sessions/{id}/json/close/{target}``."""
        return await self._on_target(request, "Target.closeTarget", "Target is closing")

    async def protocol(self, request: web.Request) -> web.Response:
        """``/json/protocol``: the same for every session."""
        if self._pool.runtime.settings.require_token:
            self._identify(request)
        return web.Response(body=await self._protocol.get(), content_type="application/json")

    # -- WebSockets --

    async def browser_socket(self, request: web.Request) -> web.StreamResponse:
        """``/sessions/{id}/devtools/browser/{guid}``."""
        session, browser = self._live(request)
        if not secrets.compare_digest(request.match_info["guid"].encode(), session.guid.encode()):
            raise TargetNotFound("The session's browser has another id; see its /json/version.")
        return await self._serve(request, session, browser, None)

    async def page_socket(self, request: web.Request) -> web.StreamResponse:
        """``/sessions/{id}/devtools/page/{target}``."""
        session, browser = self._live(request)
        return await self._serve(request, session, browser, request.match_info["target"])

    async def root_socket(self, request: web.Request) -> web.StreamResponse:
        """``ws://host:port/``: a session that lasts as long as its WebSocket, or with
        ``?keepalive=S`` until nobody was there for so long."""
        self._socket(request)
        if named_session(request.host):
            session, browser = self._live(request)
            return await self._serve(request, session, browser, None)
        return await self._connect_and_go(request)

    async def _connect_and_go(self, request: web.Request) -> web.StreamResponse:
        identity, settings = self._identify(request), self._pool.runtime.settings
        longest = settings.longest_idle_timeout_s
        grace_s = session_requests.read_seconds(
            request.query.get("keepalive"), "keepalive", longest
        )
        wait_s = session_requests.read_seconds(
            request.query.get("wait"), "wait", settings.queue_wait_s
        )
        body = session_requests.read_query(request.query)
        spec = session_requests.make_spec(body, identity.owner, settings, grace_s or None)
        spec = msgspec.structs.replace(spec, fleeting=not grace_s)
        session = await self._pool.creation.create(spec, wait_s)
        _, browser = self._pool.registry.live(session.id)
        try:
            return await self._serve(request, session, browser, None)
        finally:
            if not grace_s and not self._pool.gate.leaving:
                await self._pool.termination.end(
                    session, Reason.CLIENT_CLOSED, "its client disconnected"
                )
            elif session.left is None and not browser.clients:  # it never came to be attached
                self._left(session)

    def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            compress=False,
            decode_text=False,
            max_msg_size=self._pool.runtime.settings.max_message_bytes,
        )
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="This address takes DevTools WebSockets.")
        return socket

    async def _serve(
        self, request: web.Request, session: Session, browser: Browser, target: str | None
    ) -> web.StreamResponse:
        socket = self._socket(request)
        most = self._pool.runtime.settings.max_clients
        if len(browser.clients) >= most:
            raise TooManyClients(
                f"The session has {most} WebSockets already.",
                remedy="Close one of them, or have max_clients raised.",
                retry_after_s=5,
            )
        port = ClientConnection(
            session,
            browser,
            self._pool.runtime.settings,
            self._services.dropped,
            self._pool.termination.end_by_client,
        )
        try:
            await browser.attach(port, target)
        except CommandFailed as error:
            if target is None:
                raise
            raise TargetNotFound(f"No such target id: {target}.") from error
        session.touch()
        session.left = None
        socket.headers["Chromepool-Session"] = session.id
        try:
            await port.serve(request, socket)
        finally:
            browser.detach(port)
            if not browser.clients:
                self._left(session)
        return socket

    def _left(self, session: Session) -> None:
        session.left = self._pool.runtime.clock()
        self._pool.runtime.bus.publish(ClientLeft(session))
