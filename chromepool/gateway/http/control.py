"""Handlers of the sessions themselves: create, list, show, delete, keep alive."""

import asyncio
import dataclasses
import time

from aiohttp import web
from multidict import MultiDict, MultiMapping

from chromepool.gateway.http.identity import Identify
from chromepool.gateway.http.requests import preferred_wait, read_json, read_query, seconds
from chromepool.gateway.http.services import Handlers, Services, json_response, view
from chromepool.gateway.http.session_requests import make_spec
from chromepool.gateway.sessions.session import POOL, Session, measure
from chromepool.model import Exit, Reason, State, Usage
from chromepool.schema import session as schema
from chromepool.schema.routes import SHOW_SESSION
from chromepool.schema.session import (
    CreateParams,
    CreateSession,
    ListParams,
    SessionView,
)


def _exit(session: Session) -> schema.ExitView | None:
    if session.reason is None:
        return None
    exit = session.exit or Exit()
    return view(schema.ExitView, exit, reason=session.reason, detail=session.detail)


class Control(Handlers):
    """Handlers of the sessions themselves."""

    def __init__(self, services: Services, identify: Identify, authority: str = "") -> None:
        """``authority`` is the host and port of the DevTools endpoint; without it, those of each
        request count."""
        super().__init__(services, identify)
        self._authority = authority

    async def _view(self, request: web.Request, session: Session) -> SessionView:
        return self._show(request, session, await measure(session, self._pool.runtime.supervisor))

    def _show(self, request: web.Request, session: Session, usage: Usage) -> SessionView:
        base = f"{self._authority or request.host}/sessions/{session.id}"
        browser = session.browser
        traffic = dataclasses.asdict((browser or session).traffic)
        enforced = {"memory", "pids"} <= set(self._pool.runtime.host.enforced)
        return view(
            SessionView,
            session,
            number=session.key,
            webSocketDebuggerUrl=f"ws://{base}/devtools/browser/{session.guid}",
            devtools_url=f"http://{base}",
            labels=session.spec.labels,
            clients=len(browser.clients) if browser else 0,
            limits=view(schema.LimitsView, session.limits, enforced=enforced),
            usage=view(schema.UsageView, usage, **{f"cdp_{k}": n for k, n in traffic.items()}),
            options=session.spec.options,
            crashes=[view(schema.CrashView, crash) for crash in (browser or session).crashes],
            exit=_exit(session),
        )

    async def create_session(self, request: web.Request) -> web.Response:
        """Create a session, and answer once it can be driven."""
        began = time.perf_counter()
        identity = self._identify(request)
        settings = self._pool.runtime.settings
        body = read_json(await request.read(), CreateSession)
        spec = make_spec(body, identity.owner, settings)
        preferred = preferred_wait(request.headers.get("Prefer"))
        query: MultiMapping[str] = request.query
        if preferred is not None and "wait" not in query:
            query = MultiDict(wait=preferred)
        params = read_query(query, CreateParams)
        wait_s = seconds(params.wait, settings.queue_wait_s)
        session = await self._pool.creation.create(spec, wait_s)
        # The usage is what is known already: the answer does not wait for the supervisor.
        response = json_response(self._show(request, session, session.usage), status=201)
        response.headers["Location"] = SHOW_SESSION.url(id=session.id)
        took_ms = (time.perf_counter() - began) * 1000
        response.headers["Server-Timing"] = f"create;dur={took_ms:.1f}"
        if params.wait == preferred:
            response.headers["Preference-Applied"] = "wait"
        return response

    async def list_sessions(self, request: web.Request) -> web.Response:
        """List the caller's running sessions; with ``?all=1`` also the ended ones, and for
        administrators the warm Chromes."""
        identity = self._identify(request)
        every = read_query(request.query, ListParams).all in ("1", "true")
        shown = [s for s in self._pool.registry.all() if identity.sees(s.owner)]
        if not every:
            shown = [s for s in shown if s.state is not State.CLOSED and s.owner != POOL]
        views = await asyncio.gather(*(self._view(request, session) for session in shown))
        return json_response(schema.SessionList(views))

    async def show_session(self, request: web.Request) -> web.Response:
        """Show a session, for a while also after its end."""
        return json_response(await self._view(request, self._find(request)))

    async def delete_session(self, request: web.Request) -> web.Response:
        """End a session, and answer once nothing of it is left. May be called again."""
        session = self._find(request)
        if session.state is not State.CLOSED:
            await self._pool.termination.end(session, Reason.DELETED, "it was deleted")
        return web.Response(status=204)

    async def keep_alive(self, request: web.Request) -> web.Response:
        """Restart the idle timeout of a session."""
        session, _ = self._live(request)
        session.touch()
        return json_response(await self._view(request, session))
