"""The DevTools endpoint: for each session what Chrome serves on its port, and connect-and-go."""

from __future__ import annotations

import secrets
import urllib.parse
from typing import Any

from aiohttp import web

from chromepool.api.gatekeeper import gatekeeper
from chromepool.api.port import WebSocketPort
from chromepool.api.problems import problems
from chromepool.api.views import json_response
from chromepool.browser.browser import Browser
from chromepool.errors import BrowserGone, CommandFailed, NoAnswer, TargetNotFound, TooManyClients
from chromepool.model import Reason
from chromepool.pool.manager import Manager
from chromepool.pool.protocol import ProtocolSource
from chromepool.pool.session import Session

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


class DevTools:
    """The handlers of the TCP port."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._protocol = ProtocolSource(manager)
        self._last_version: dict[str, Any] | None = None

    def app(self) -> web.Application:
        """The application to serve."""
        checks = gatekeeper(self._manager.settings)
        app = web.Application(middlewares=[problems, checks])
        add = app.router.add_route
        add("GET", "/", self.connect_and_go)
        add("GET", "/json/version{slash:/?}", self.root_version)
        add("GET", "/json/protocol{slash:/?}", self.protocol)
        base = "/sessions/{id}"
        add("GET", base + "/json/version{slash:/?}", self.version)
        add("GET", base + "/json{list:(/list)?/?}", self.list)
        add("*", base + "/json/new", self.new)
        add("GET", base + "/json/activate/{target}", self.activate)
        add("GET", base + "/json/close/{target}", self.close)
        add("GET", base + "/json/protocol{slash:/?}", self.protocol)
        add("GET", base + "/devtools/browser/{guid}", self.browser_socket)
        add("GET", base + "/devtools/page/{target}", self.page_socket)
        return app

    # -- /json --

    def _live(self, request: web.Request) -> tuple[Session, Browser]:
        return self._manager.live(request.match_info["id"])

    async def root_version(self, request: web.Request) -> web.Response:
        """``/json/version``: where to connect for a session of one's own."""
        return json_response(_version(await self._any_version(), f"ws://{request.host}/"))

    async def _any_version(self) -> dict[str, Any]:
        """What the daemon's Chrome answers. The last answer of any session will do; before the
        first there is none, and the fields stay empty rather than cost a start."""
        for session in self._manager.all():
            if session.browser is not None:
                try:
                    self._last_version = await session.browser.call("Browser.getVersion")
                    break
                except (BrowserGone, CommandFailed, NoAnswer):
                    continue
        return self._last_version or {}

    async def version(self, request: web.Request) -> web.Response:
        """``/sessions/{id}/json/version``."""
        session, browser = self._live(request)
        url = f"ws://{request.host}/sessions/{session.id}/devtools/browser/{session.guid}"
        return json_response(_version(await browser.call("Browser.getVersion"), url))

    def _target(self, request: web.Request, session: Session, info: dict[str, Any]) -> object:
        path = f"{request.host}/sessions/{session.id}/devtools/page/{info['targetId']}"
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

    async def protocol(self, _: web.Request) -> web.Response:
        """``/json/protocol``: the same for every session."""
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

    async def connect_and_go(self, request: web.Request) -> web.StreamResponse:
        """``ws://host:port/``: a session that lasts as long as its WebSocket."""
        self._socket(request)
        manager = self._manager
        owner = f"tcp:{request.remote}"
        session = await manager.create(owner, {}, manager.settings.session_limits)
        try:
            _, browser = manager.live(session.id)
            return await self._serve(request, session, browser, None)
        finally:
            await manager.end(session, Reason.CLIENT_CLOSED, "its client disconnected")

    def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            compress=False,
            decode_text=False,
            max_msg_size=self._manager.settings.max_message_bytes,
        )
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="This address takes DevTools WebSockets.")
        return socket

    async def _serve(
        self, request: web.Request, session: Session, browser: Browser, target: str | None
    ) -> web.StreamResponse:
        socket = self._socket(request)
        most = self._manager.settings.max_clients
        if len(browser.clients) >= most:
            raise TooManyClients(f"The session has {most} WebSockets already.")
        port = WebSocketPort(self._manager, session, browser)
        try:
            await browser.attach(port, target)
        except CommandFailed as error:
            if target is None:
                raise
            raise TargetNotFound(f"No such target id: {target}.") from error
        session.touch()
        try:
            await port.serve(request, socket)
        finally:
            browser.detach(port)
        return socket
