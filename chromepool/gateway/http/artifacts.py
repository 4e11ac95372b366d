"""What a session keeps, over the control API: scripts, responses, console, stderr, downloads."""

from __future__ import annotations

import os
import re
import urllib.parse

from aiohttp import web

from chromepool import __version__
from chromepool.errors import BrowserGone, ItemNotFound, SessionNotFound
from chromepool.gateway.browser.hooks.console import ConsoleMessage
from chromepool.gateway.http.identity import Identify
from chromepool.gateway.http.problems import NUMBER
from chromepool.gateway.http.requests import read_json
from chromepool.gateway.http.requests import wanted as wanted_of
from chromepool.gateway.http.services import Services
from chromepool.gateway.http.views import json_response
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.downloads import Downloads
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.store import har
from chromepool.gateway.store.responses import Response
from chromepool.gateway.store.scripts import Script
from chromepool.schema import artifacts as schema

_CHUNK = 1 << 18
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}")
FOREIGN = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
"""For what pages have made: a browser that is shown it must not run it as the daemon's own."""


def _response_view(number: int, response: Response) -> schema.ResponseView:
    return schema.ResponseView(
        number=number,
        url=response.url,
        method=response.method,
        status=response.status,
        status_text=response.status_text,
        type=response.type,
        mime_type=response.mime_type,
        request_headers=response.request_headers,
        response_headers=response.response_headers,
        started_at=response.started_at,
        duration_ms=response.duration_ms,
        timing=response.timing,
        protocol=response.protocol,
        remote_address=response.remote_address,
        encoded_bytes=response.encoded_bytes,
        body_bytes=None if response.body is None else len(response.body),
        body_error=response.body_error,
        error=response.error,
    )


def _said_view(number: int, said: ConsoleMessage) -> schema.ConsoleView:
    return schema.ConsoleView(
        number, said.at, said.level, said.text, said.url, said.line, said.target_id
    )


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{urllib.parse.quote(name, safe='')}"


class Kept:
    """The handlers."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def add_routes(self, app: web.Application) -> None:
        """Adds the routes below ``/v1/sessions/{id}``."""
        base, add = "/v1/sessions/{id}", app.router.add_route
        add("GET", base + "/scripts", self.scripts)
        add("POST", base + "/scripts", self.add_script)
        add("GET", base + "/scripts/{name}", self.script)
        add("PUT", base + "/scripts/{name}", self.put_script)
        add("DELETE", base + "/scripts/{name}", self.remove_script)
        add("GET", base + "/responses", self.responses)
        add("DELETE", base + "/responses", self.clear_responses)
        add("GET", base + "/responses/{number}", self.response)
        add("GET", base + "/responses/{number}/body", self.body)
        add("DELETE", base + "/responses/{number}", self.remove_response)
        add("GET", base + "/har", self.har)
        add("GET", base + "/console", self.console)
        add("DELETE", base + "/console", self.clear_console)
        add("GET", base + "/stderr", self.stderr)
        add("GET", base + "/downloads", self.downloads)
        add("GET", base + "/downloads/{name}", self.download)
        add("DELETE", base + "/downloads/{name}", self.remove_download)

    def _session(self, request: web.Request) -> Session:
        session = self._identify(request).find(self._pool.registry, request.match_info["id"])
        request[NUMBER] = session.key
        return session

    def _artifacts(self, request: web.Request) -> Artifacts:
        session, _ = self._pool.registry.live(self._session(request).id)
        if session.artifacts is None:
            raise SessionNotFound("The session keeps nothing any more.")
        return session.artifacts

    # -- scripts --

    async def scripts(self, request: web.Request) -> web.Response:
        """``GET .../scripts``, in the order in which they run."""
        found = [
            schema.ScriptView(s.name, s.source, s.world) for s in self._artifacts(request).scripts()
        ]
        return json_response(schema.ScriptList(found))

    async def script(self, request: web.Request) -> web.Response:
        """``GET .../scripts/{name}``."""
        script = self._artifacts(request).script(request.match_info["name"])
        return json_response(schema.ScriptView(script.name, script.source, script.world))

    async def add_script(self, request: web.Request) -> web.Response:
        """``POST .../scripts``: 201 when every page has it."""
        artifacts = self._artifacts(request)
        body = read_json(await request.read(), schema.AddScript)
        script = Script(body.name, body.source, body.world)
        await artifacts.add_script(script, run_now=body.run_now)
        return json_response(schema.ScriptView(script.name, script.source, script.world), 201)

    async def put_script(self, request: web.Request) -> web.Response:
        """``PUT .../scripts/{name}``: replaces it in its place (200), or adds it (201)."""
        artifacts = self._artifacts(request)
        name = request.match_info["name"]
        body = read_json(await request.read(), schema.PutScript)
        schema.check_script_name(name)
        script = Script(name, body.source, body.world)
        new = await artifacts.put_script(script, run_now=body.run_now)
        view = schema.ScriptView(script.name, script.source, script.world)
        return json_response(view, 201 if new else 200)

    async def remove_script(self, request: web.Request) -> web.Response:
        """``DELETE .../scripts/{name}``: 204 when no page has it any more."""
        await self._artifacts(request).remove_script(request.match_info["name"])
        return web.Response(status=204)

    # -- responses --

    async def responses(self, request: web.Request) -> web.Response:
        """``GET .../responses``, the oldest first; ``?url=``, ``?type=``, ``?status=`` filter."""
        artifacts, query = self._artifacts(request), request.query
        wanted = wanted_of(
            query.getall("url", []), query.getall("type", []), query.getall("status", [])
        )
        found = [
            _response_view(number, response)
            for number, response in artifacts.responses
            if wanted.matches(response.url, response.type, response.status)
        ]
        return json_response(schema.ResponseList(found, artifacts.responses.dropped))

    def _response(self, request: web.Request) -> tuple[int, Response]:
        number = _number(request)
        response = self._artifacts(request).responses.get(number)
        if response is None:
            raise ItemNotFound("There is no such response, or it is not kept any more.")
        return number, response

    async def response(self, request: web.Request) -> web.Response:
        """``GET .../responses/{number}``."""
        return json_response(_response_view(*self._response(request)))

    async def body(self, request: web.Request) -> web.Response:
        """``GET .../responses/{number}/body``, with the content type it came with."""
        _, response = self._response(request)
        if response.body is None:
            why = (
                response.body_error or response.error or "it is not there yet, or was not asked for"
            )
            raise ItemNotFound(f"There is no body: {why}.")
        kind = _media_type(response.mime_type)
        return web.Response(body=response.body, headers={**FOREIGN, "Content-Type": kind})

    async def remove_response(self, request: web.Request) -> web.Response:
        """``DELETE .../responses/{number}``."""
        if not self._artifacts(request).responses.remove(_number(request)):
            raise ItemNotFound("There is no such response, or it is not kept any more.")
        return web.Response(status=204)

    async def clear_responses(self, request: web.Request) -> web.Response:
        """``DELETE .../responses``: all of them."""
        self._artifacts(request).responses.clear()
        return web.Response(status=204)

    async def har(self, request: web.Request) -> web.Response:
        """``GET .../har``: the responses as HAR 1.2."""
        session, browser = self._pool.registry.live(self._session(request).id)
        kept = [] if session.artifacts is None else [r for _, r in session.artifacts.responses]
        return json_response(har.export(kept, __version__, str(browser.version.get("product", ""))))

    # -- console, stderr --

    async def console(self, request: web.Request) -> web.Response:
        """``GET .../console``, the oldest first; ``?level=`` filters."""
        artifacts = self._artifacts(request)
        levels = request.query.getall("level", [])
        found = [
            _said_view(number, said)
            for number, said in artifacts.console
            if not levels or said.level in levels
        ]
        return json_response(schema.ConsoleList(found, artifacts.console.dropped))

    async def clear_console(self, request: web.Request) -> web.Response:
        """``DELETE .../console``."""
        self._artifacts(request).console.clear()
        return web.Response(status=204)

    async def stderr(self, request: web.Request) -> web.Response:
        """``GET .../stderr``: the last of what Chrome wrote there, also of one that is over."""
        session = self._session(request)
        text = session.exit.stderr if session.exit else ""
        if session.exit is None and session.pid:
            try:
                text = (await self._pool.runtime.supervisor.inspect(session.key)).stderr
            except BrowserGone:
                text = session.exit.stderr if session.exit else ""
        return web.Response(text=text, headers=FOREIGN)

    # -- downloads --

    def _downloads(self, request: web.Request) -> tuple[Session, Downloads]:
        session, _ = self._pool.registry.live(self._session(request).id)
        if session.downloads is None:
            raise SessionNotFound("The session's downloads are gone.")
        return session, session.downloads

    async def downloads(self, request: web.Request) -> web.Response:
        """``GET .../downloads``, the newest first."""
        _, downloads = self._downloads(request)
        files = await downloads.files()
        return json_response(
            schema.DownloadList([schema.DownloadView(f.name, f.size, f.modified) for f in files])
        )

    async def download(self, request: web.Request) -> web.StreamResponse:
        """``GET .../downloads/{name}``."""
        session, downloads = self._downloads(request)
        name = request.match_info["name"]
        await downloads.check(name)
        fd = await self._pool.runtime.supervisor.open_file(session.key, name)
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            response = web.StreamResponse(headers=FOREIGN)
            response.content_type = "application/octet-stream"
            response.headers["Content-Disposition"] = _attachment(name)
            response.content_length = size
            await response.prepare(request)
            while size > 0 and (data := file.read(min(_CHUNK, size))):
                size -= len(data)
                await response.write(data)
        await response.write_eof()
        return response

    async def remove_download(self, request: web.Request) -> web.Response:
        """``DELETE .../downloads/{name}``."""
        _, downloads = self._downloads(request)
        await downloads.remove(request.match_info["name"])
        return web.Response(status=204)


def _number(request: web.Request) -> int:
    text = request.match_info["number"]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ItemNotFound("There is no such number.")
    return int(text)


def _media_type(mime_type: str) -> str:
    """What a server said, if it is one; a page's answer must not make our headers."""
    return mime_type if _MEDIA_TYPE.fullmatch(mime_type) else "application/octet-stream"
