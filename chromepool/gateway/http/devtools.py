"""Handlers of the DevTools endpoint: what Chrome serves on its port, and connect-and-go."""

import re
import secrets
import urllib.parse
from typing import Any

import msgspec
from aiohttp import web

from chromepool import errors
from chromepool.errors import CommandFailed, TargetNotFound
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.http.browserless import read_connect_query
from chromepool.gateway.http.identity import by_address, by_token
from chromepool.gateway.http.origin_check import host_name
from chromepool.gateway.http.problems import NUMBER
from chromepool.gateway.http.requests import read_query, seconds
from chromepool.gateway.http.services import Handlers, Services, json_response
from chromepool.gateway.http.session_requests import make_spec
from chromepool.gateway.http.websocket import ClientConnection
from chromepool.gateway.sessions.events import ClientLeft
from chromepool.gateway.sessions.protocol import ProtocolReader
from chromepool.gateway.sessions.session import Session
from chromepool.model import Reason, State
from chromepool.schema.session import ConnectParams

_NAMED = re.compile(r"([0-9a-f]{32})\.localhost\.?")
_HIDDEN = {"browser", "tab"}
"""Target types that Chrome leaves out of its own list."""


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
    """Return the session in a host name such as ``0123...cdef.localhost:9222``, or ""."""
    match = _NAMED.fullmatch(host_name(host).lower())
    return match[1] if match else ""


class DevTools(Handlers):
    """Handlers of the DevTools endpoint."""

    def __init__(self, services: Services) -> None:
        runtime = services.pool.runtime
        tokens = runtime.settings.tokens_file
        super().__init__(services, by_token(services.digests) if tokens else by_address)
        self._protocol = ProtocolReader(runtime, services.pool.registry.next_key)
        self._last_version: dict[str, Any] = {}

    # -- /json --

    def _live(self, request: web.Request) -> tuple[Session, Browser]:
        """Find the session that a request names, in its path or by its host name."""
        session_id = request.match_info.get("id") or named_session(request.host)
        if not session_id:
            raise errors.SessionNotFound(
                "The address names no session.",
                remedy="Use /sessions/ID/..., or the host name ID.localhost.",
            )
        if self._pool.runtime.settings.require_token:  # of its maker, or any if it had none
            identity = self._identify(request)
            if self._pool.registry.get(session_id).owner.startswith("token:"):
                identity.find(self._pool.registry, session_id)
        session, browser = self._pool.registry.live(session_id)
        request[NUMBER] = session.key
        return session, browser

    def _base(self, request: web.Request, session: Session) -> str:
        """Return the host and path below which the session is served.

        For a request to the session's own host name, they are those of the address behind it:
        chromedriver and Node ask a resolver that may not know ``ID.localhost``.
        """
        host = request.host
        if named_session(host):
            port = host.rpartition(":")[2] if ":" in host else "80"
            address = "[::1]" if ":" in self._pool.runtime.settings.host else "127.0.0.1"
            host = f"{address}:{port}"
        return f"{host}/sessions/{session.id}"

    async def root_version(self, request: web.Request) -> web.Response:
        """Show the version of Chrome, and the URL that creates a session. The URL has the query of
        this request, so that the options and the token of the client stay."""
        if named_session(request.host):
            return await self.version(request)
        query = request.rel_url.raw_query_string
        url = f"ws://{request.host}/{'?' if query else ''}{query}"
        return json_response(_version(await self._any_version(), url))

    async def _any_version(self) -> dict[str, Any]:
        """Return Chrome's answer from any session, or else the last one. Before the first session
        there is none, and the fields stay empty rather than cost a start of Chrome."""
        for session in self._pool.registry.all():
            if session.browser is not None and session.state is State.READY:
                try:
                    self._last_version = await session.browser.call("Browser.getVersion")
                    break
                except (errors.BrowserGone, CommandFailed, errors.NoAnswer):
                    continue
        return self._last_version

    async def version(self, request: web.Request) -> web.Response:
        """Show the version of a session's Chrome, and the URL of its WebSocket."""
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
        """List the targets of a session."""
        session, browser = self._live(request)
        infos = (await browser.call("Target.getTargets"))["targetInfos"]
        shown = [info for info in infos if info["type"] not in _HIDDEN]
        return json_response([self._target(request, session, info) for info in shown])

    async def new(self, request: web.Request) -> web.Response:
        """Open the page whose URL is the query. Only PUT does, as in Chrome since 111."""
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
        """Bring a target to the front."""
        return await self._on_target(request, "Target.activateTarget", "Target activated")

    async def close(self, request: web.Request) -> web.Response:
        """Close a target."""
        return await self._on_target(request, "Target.closeTarget", "Target is closing")

    async def protocol(self, request: web.Request) -> web.Response:
        """Send the description of the protocol, which is the same for every session."""
        if self._pool.runtime.settings.require_token:
            self._identify(request)
        return web.Response(body=await self._protocol.get(), content_type="application/json")

    # -- WebSockets --

    async def browser_socket(self, request: web.Request) -> web.StreamResponse:
        """Attach a WebSocket to the browser of a session."""
        session, browser = self._live(request)
        if not secrets.compare_digest(request.match_info["guid"].encode(), session.guid.encode()):
            raise TargetNotFound(
                "The browser of the session has another id.", remedy="See its /json/version."
            )
        return await self._serve(request, session, browser)

    async def page_socket(self, request: web.Request) -> web.StreamResponse:
        """Attach a WebSocket to a page of a session."""
        return await self._serve(request, *self._live(request), request.match_info["target"])

    async def root_socket(self, request: web.Request) -> web.StreamResponse:
        """Create a session that ends with its WebSocket, or with ``?keepalive=S`` when it has had
        no client for ``S`` seconds."""
        self._socket(request)
        if named_session(request.host):
            return await self._serve(request, *self._live(request))
        return await self._connect_and_go(request)

    async def _connect_and_go(self, request: web.Request) -> web.StreamResponse:
        identity, settings = self._identify(request), self._pool.runtime.settings
        params = read_query(request.query, ConnectParams)
        grace_s = seconds(params.keepalive, settings.longest_idle_timeout_s)
        wait_s = seconds(params.wait, settings.queue_wait_s)
        body = read_connect_query(request.query)
        spec = make_spec(body, identity.owner, settings, grace_s or None)
        spec = msgspec.structs.replace(spec, fleeting=not grace_s)
        session = await self._pool.creation.create(spec, wait_s)
        _, browser = self._pool.registry.live(session.id)
        try:
            return await self._serve(request, session, browser)
        finally:
            if not grace_s and not self._pool.gate.leaving:
                why = "its client disconnected"
                await self._pool.termination.end(session, Reason.CLIENT_CLOSED, why)
            elif session.left is None and not browser.clients:  # the client was never attached
                self._left(session)

    def _socket(self, request: web.Request) -> web.WebSocketResponse:
        most = self._pool.runtime.settings.max_message_bytes
        socket = web.WebSocketResponse(compress=False, decode_text=False, max_msg_size=most)
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="This address serves DevTools WebSockets only.")
        return socket

    async def _serve(
        self, request: web.Request, session: Session, browser: Browser, target: str | None = None
    ) -> web.StreamResponse:
        socket, settings = self._socket(request), self._pool.runtime.settings
        most = settings.max_clients
        if len(browser.clients) >= most:
            raise errors.TooManyClients(
                f"The session already has {most} WebSockets.",
                remedy="Close one of them, or raise the setting max_clients.",
                retry_after_s=5,
            )
        on_end = self._pool.termination.end_by_client
        port = ClientConnection(session, browser, settings, self._services.dropped, on_end)
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
