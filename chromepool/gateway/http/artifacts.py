"""Handlers for the artifacts of a session: scripts, responses, console, stderr, downloads."""

import os
import re
import urllib.parse

from aiohttp import web

from chromepool import __version__
from chromepool.errors import BrowserGone, ItemNotFound, SessionNotFound
from chromepool.gateway.http.requests import read_json, read_query
from chromepool.gateway.http.services import Handlers, json_response, view
from chromepool.gateway.sessions.artifacts import Artifacts
from chromepool.gateway.sessions.downloads import Downloads
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.store import har
from chromepool.gateway.store.responses import Response, ResponseFilter
from chromepool.gateway.store.scripts import Script
from chromepool.schema import artifacts as schema

_CHUNK = 1 << 18
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}")
FOREIGN = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
"""Headers for content that pages have made: a browser must not run it with the daemon's origin."""

_NO_RESPONSE = "The session has no response of this number, or not any more."


def _response_view(number: int, response: Response) -> schema.ResponseView:
    size = None if response.body is None else len(response.body)
    return view(schema.ResponseView, response, number=number, body_bytes=size)


class ArtifactHandlers(Handlers):
    """Handlers of the routes below ``/v1/sessions/{id}`` that serve its artifacts."""

    def _artifacts(self, request: web.Request) -> Artifacts:
        session, _ = self._live(request)
        if session.artifacts is None:
            raise SessionNotFound("The session has ended, and its artifacts are gone.")
        return session.artifacts

    # -- scripts --

    async def list_scripts(self, request: web.Request) -> web.Response:
        """List the scripts in the order in which they run."""
        scripts = self._artifacts(request).scripts.all()
        return json_response(schema.ScriptList([view(schema.ScriptView, s) for s in scripts]))

    async def show_script(self, request: web.Request) -> web.Response:
        """Show a script."""
        script = self._artifacts(request).scripts.get(request.match_info["name"])
        return json_response(view(schema.ScriptView, script))

    async def add_script(self, request: web.Request) -> web.Response:
        """Add a script, and answer once every page has it."""
        artifacts = self._artifacts(request)
        body = read_json(await request.read(), schema.AddScript)
        script = Script(body.name, body.source, body.world)
        await artifacts.add_script(script, run_now=body.run_now)
        return json_response(view(schema.ScriptView, script), 201)

    async def put_script(self, request: web.Request) -> web.Response:
        """Replace a script without changing the order (200), or add it (201)."""
        artifacts = self._artifacts(request)
        name = request.match_info["name"]
        body = read_json(await request.read(), schema.PutScript)
        schema.check_script_name(name)
        script = Script(name, body.source, body.world)
        new = await artifacts.put_script(script, run_now=body.run_now)
        return json_response(view(schema.ScriptView, script), 201 if new else 200)

    async def remove_script(self, request: web.Request) -> web.Response:
        """Remove a script, and answer once no page has it any more."""
        await self._artifacts(request).remove_script(request.match_info["name"])
        return web.Response(status=204)

    # -- responses --

    async def list_responses(self, request: web.Request) -> web.Response:
        """List the captured responses that match the query, the oldest first."""
        artifacts = self._artifacts(request)
        query = read_query(request.query, schema.ResponsesParams)
        wanted = ResponseFilter(tuple(query.url), tuple(query.type), tuple(query.status))
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
            raise ItemNotFound(_NO_RESPONSE)
        return number, response

    async def show_response(self, request: web.Request) -> web.Response:
        """Show a captured response."""
        return json_response(_response_view(*self._response(request)))

    async def response_body(self, request: web.Request) -> web.Response:
        """Send the body of a response with the content type that it came with."""
        _, response = self._response(request)
        if response.body is None:
            why = response.body_error or response.error or "it is still loading or was not captured"
            raise ItemNotFound(f"The response has no body: {why}.")
        # Only what is a type: servers must not shape our headers.
        sent = _MEDIA_TYPE.fullmatch(response.mime_type)
        kind = response.mime_type if sent else "application/octet-stream"
        return web.Response(body=response.body, headers={**FOREIGN, "Content-Type": kind})

    async def remove_response(self, request: web.Request) -> web.Response:
        """Remove a captured response."""
        if not self._artifacts(request).responses.remove(_number(request)):
            raise ItemNotFound(_NO_RESPONSE)
        return web.Response(status=204)

    async def clear_responses(self, request: web.Request) -> web.Response:
        """Remove all captured responses."""
        self._artifacts(request).responses.clear()
        return web.Response(status=204)

    async def export_har(self, request: web.Request) -> web.Response:
        """Export the captured responses as HAR 1.2."""
        session, browser = self._live(request)
        kept = [] if session.artifacts is None else [r for _, r in session.artifacts.responses]
        return json_response(har.export(kept, __version__, str(browser.version.get("product", ""))))

    # -- console, stderr --

    async def list_console(self, request: web.Request) -> web.Response:
        """List the console messages of the levels in the query, the oldest first."""
        artifacts = self._artifacts(request)
        levels = read_query(request.query, schema.ConsoleParams).level
        found = [said for _, said in artifacts.console if not levels or said.level in levels]
        return json_response(schema.ConsoleList(found, artifacts.console.dropped))

    async def clear_console(self, request: web.Request) -> web.Response:
        """Remove all console messages."""
        self._artifacts(request).console.clear()
        return web.Response(status=204)

    async def show_stderr(self, request: web.Request) -> web.Response:
        """Show the end of Chrome's stderr, also of a session that has ended."""
        session = self._find(request)
        text = session.exit.stderr if session.exit else ""
        if session.exit is None and session.pid:
            try:
                text = (await self._pool.runtime.supervisor.inspect(session.key)).stderr
            except BrowserGone:
                text = session.exit.stderr if session.exit else ""
        return web.Response(text=text, headers=FOREIGN)

    # -- downloads --

    def _downloads(self, request: web.Request) -> tuple[Session, Downloads]:
        session, _ = self._live(request)
        if session.downloads is None:
            raise SessionNotFound("The session's downloads are gone.")
        return session, session.downloads

    async def list_downloads(self, request: web.Request) -> web.Response:
        """List the downloaded files, the newest first."""
        _, downloads = self._downloads(request)
        found = [view(schema.DownloadView, file) for file in await downloads.files()]
        return json_response(schema.DownloadList(found))

    async def fetch_download(self, request: web.Request) -> web.StreamResponse:
        """Send a downloaded file as an attachment."""
        session, downloads = self._downloads(request)
        name = request.match_info["name"]
        await downloads.check(name)
        fd = await self._pool.runtime.supervisor.open_file(session.key, name)
        with os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            response = web.StreamResponse(headers=FOREIGN)
            response.content_type = "application/octet-stream"
            quoted = urllib.parse.quote(name, safe="")
            response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quoted}"
            response.content_length = size
            await response.prepare(request)
            # aiohttp would send the body to a HEAD request, too.
            while request.method != "HEAD" and size > 0 and (data := file.read(min(_CHUNK, size))):
                size -= len(data)
                await response.write(data)
        await response.write_eof()
        return response

    async def remove_download(self, request: web.Request) -> web.Response:
        """Remove a downloaded file."""
        _, downloads = self._downloads(request)
        await downloads.remove(request.match_info["name"])
        return web.Response(status=204)


def _number(request: web.Request) -> int:
    text = request.match_info["number"]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ItemNotFound(f"{text[:40]!r} is not the number of a response.")
    return int(text)
