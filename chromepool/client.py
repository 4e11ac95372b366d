"""A client of the control API, over the daemon's Unix socket or over TCP.

::

    async with chromepool.Client() as client:
        async with client.session(viewport={"width": 1280, "height": 720}) as session:
            browser = await session.pyppeteer()
            page = await browser.newPage()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
import tenacity

from chromepool.config import default_runtime_dir
from chromepool.errors import ChromepoolError, DaemonUnreachable, InvalidRequest
from chromepool.schema import routes
from chromepool.schema.admin import (
    DrainRequest,
    DrainView,
    QueueView,
    ReloadView,
    StatusView,
    WaiterView,
)
from chromepool.schema.history import HistoryPage, PastSessionWithEvents
from chromepool.schema.problem import Problem
from chromepool.schema.routes import Route
from chromepool.schema.session import CreateSession, SessionList, SessionView

T = TypeVar("T")
_BASE = "http://chromepool"
_START_ATTEMPTS = 3
_TIMEOUT_S = 120.0
_SILENCE_S = 60.0
"""The daemon says something every 15 seconds, if only that it is still there."""
_AGAIN_S = 0.5
_LOOK_S = 0.1


class ApiError(ChromepoolError):
    """The daemon refused. ``code`` and ``status`` are those of its problem document, and
    ``retry_after_s`` is set where it said when to try again."""

    def __init__(self, problem: Problem, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail, remedy=problem.remedy, retry_after_s=retry_after_s)
        self.code = problem.code
        self.status = status


class Session:
    """A session that somebody here has made, or found."""

    def __init__(self, client: Client, info: SessionView) -> None:
        self._client, self.info = client, info
        self._browsers: list[Any] = []

    @property
    def id(self) -> str:
        """Its id: whoever has it may drive the session."""
        return self.info.id

    @property
    def url(self) -> str:
        """Its browser's WebSocket, for any DevTools client."""
        return self.info.webSocketDebuggerUrl

    @property
    def devtools_url(self) -> str:
        """Base of ``/json/version``, ``/json/list`` and the rest of what Chrome serves."""
        return self.info.devtools_url

    async def refresh(self) -> SessionView:
        """The session as it is now."""
        self.info = await self._client.show(self.id)
        return self.info

    async def keepalive(self) -> None:
        """Begins its idle timeout anew. Raises :class:`ApiError` when it is over."""
        self.info = await self._client.keepalive(self.id)

    async def pyppeteer(self, **options: Any) -> Any:
        """A pyppeteer ``Browser`` that drives it; ``options`` are those of ``pyppeteer.connect``.

        It is disconnected by :meth:`close`, or at the end of ``async with client.session()``.
        """
        from pyppeteer import connect

        # pyppeteer knows no headers; where no token is asked for, one more parameter does no harm.
        token = self._client.token
        query = f"?token={urllib.parse.quote(token, safe='')}" if token else ""
        browser = await connect(browserWSEndpoint=self.url + query, **options)
        self._browsers.append(browser)
        return browser

    async def disconnect(self) -> None:
        """Disconnects every browser of :meth:`pyppeteer`. May be called twice."""
        while self._browsers:
            await self._browsers.pop().disconnect()

    async def close(self) -> None:
        """Ends the session; nothing of it is left when this returns. May be called twice."""
        await self.disconnect()
        try:
            await self._client.delete(self.id)
        except ApiError as error:
            if error.code != "session_not_found":
                raise


class Client:
    """Sessions of a daemon: ``async with Client() as client: ...``."""

    def __init__(self, address: str | os.PathLike[str] = "", *, token: str = "") -> None:
        """``address`` is the path of the control socket, or ``http://host:port`` of a daemon that
        offers its API on TCP (``control_tcp``); empty: the socket of this machine's daemon.
        ``token`` is sent over TCP, to the API and to DevTools."""
        self._address = os.fspath(address) or str(Path(default_runtime_dir()) / "control.sock")
        self.token = token
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self._address.startswith(("http://", "https://")):
            self._http = aiohttp.ClientSession(self._address, headers=headers)
        else:
            connector = aiohttp.UnixConnector(self._address)
            self._http = aiohttp.ClientSession(_BASE, connector=connector)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    @tenacity.retry(  # the socket is there a moment before somebody answers on it
        retry=tenacity.retry_if_exception_type(DaemonUnreachable),
        stop=tenacity.stop_after_attempt(_START_ATTEMPTS),
        wait=tenacity.wait_fixed(0.2),
        reraise=True,
    )
    async def _ask(
        self,
        route: Route,
        body: bytes | None = None,
        *,
        session_id: str = "",
        query: Mapping[str, object] | None = None,
        wait_s: float = 0.0,
    ) -> bytes:
        url = route.url(query, id=session_id)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S + wait_s)
        try:
            async with self._http.request(route.method, url, data=body, timeout=timeout) as answer:
                data = await answer.read()
                if answer.status >= 400:
                    raise _refusal(data, answer)
                return data
        except aiohttp.ClientConnectorError as error:
            raise self._blocked(error.os_error.strerror or repr(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            # Not to be tried again: what was asked for may have been done.
            raise ApiError(Problem("", "", 0, "no_answer", f"No answer: {error!r}."), 0) from error

    def _blocked(self, why: str) -> DaemonUnreachable:
        return DaemonUnreachable(
            f"No daemon answers at {self._address}: {why}.",
            remedy="Start it with `chromepool serve`, or name its --runtime-dir.",
        )

    async def create(self, *, wait_s: float = 0.0, **options: Any) -> SessionView:
        """A new session, ready to be driven; ``options`` are the fields of
        :class:`~chromepool.schema.session.CreateSession`. Waits up to ``wait_s`` for a place.

        Raises :class:`InvalidRequest` for what no daemon would take, :class:`ApiError`,
        :class:`DaemonUnreachable`.
        """
        try:
            request = msgspec.convert(options, CreateSession)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"These are not a session's options: {error}.") from error
        body, query = msgspec.json.encode(request), {"wait": wait_s}
        data = await self._ask(routes.CREATE_SESSION, body, query=query, wait_s=wait_s)
        return msgspec.json.decode(data, type=SessionView)

    @contextlib.asynccontextmanager
    async def session(self, *, wait_s: float = 0.0, **options: Any) -> AsyncIterator[Session]:
        """A session that is ended with the block: ``async with client.session() as s: ...``."""
        session = Session(self, await self.create(wait_s=wait_s, **options))
        try:
            yield session
        finally:
            await session.close()

    async def find(self, labels: Mapping[str, str]) -> tuple[Session, ...]:
        """The running sessions that have all of these labels."""
        found = [s for s in await self.list() if labels.items() <= s.labels.items()]
        return tuple(Session(self, info) for info in found)

    async def list(self, *, ended: bool = False) -> list[SessionView]:
        """The sessions that run; with ``ended`` also those that are over."""
        data = await self._ask(routes.LIST_SESSIONS, query={"all": int(ended)})
        return msgspec.json.decode(data, type=SessionList).sessions

    async def show(self, session_id: str) -> SessionView:
        """One session."""
        data = await self._ask(routes.SHOW_SESSION, session_id=session_id)
        return msgspec.json.decode(data, type=SessionView)

    async def keepalive(self, session_id: str) -> SessionView:
        """Begins a session's idle timeout anew."""
        data = await self._ask(routes.KEEP_ALIVE, session_id=session_id)
        return msgspec.json.decode(data, type=SessionView)

    async def delete(self, session_id: str) -> None:
        """Ends a session; nothing of it is left when this returns."""
        await self._ask(routes.DELETE_SESSION, session_id=session_id)

    async def queue(self) -> tuple[WaiterView, ...]:
        """Who waits for a place, the next one first."""
        data = await self._ask(routes.LIST_QUEUE)
        return tuple(msgspec.json.decode(data, type=QueueView).waiting)

    async def history(
        self,
        *,
        since: str = "",
        owner: str = "",
        reason: str = "",
        limit: int | None = None,
        after: str | None = None,
    ) -> HistoryPage:
        """Sessions of the past, the newest first; ``since`` is such as ``2h``, ``after`` is the
        ``next`` of the page before."""
        query = {"since": since, "owner": owner, "reason": reason, "limit": limit, "after": after}
        answer = await self._ask(routes.LIST_HISTORY, query=query)
        return msgspec.json.decode(answer, type=HistoryPage)

    async def past(self, session_id: str) -> PastSessionWithEvents:
        """One session of the past, with its events."""
        answer = await self._ask(routes.SHOW_HISTORY, session_id=session_id)
        return msgspec.json.decode(answer, type=PastSessionWithEvents)

    async def events(self, after: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """What happens to the caller's sessions, as it happens; first what came after the event of
        that number. A connection that breaks is made again, and what happened meanwhile follows.
        Where the daemon no longer knows all of it (its journal is off, or has let go of it, or its
        gateway was killed), an event ``events.lost`` stands for it.

        Raises :class:`ApiError` for a refusal, :class:`DaemonUnreachable` when no daemon is there.
        """
        url = routes.STREAM_EVENTS.url()
        while True:
            headers = {} if after is None else {"Last-Event-ID": str(after)}
            timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_S)
            try:
                async with self._http.get(url, headers=headers, timeout=timeout) as answer:
                    if answer.status >= 400:
                        raise _refusal(await answer.read(), answer)
                    async for line in answer.content:
                        if line.startswith(b"id: "):
                            after = int(line[4:])
                        elif line.startswith(b"data: "):
                            yield {"number": after, **msgspec.json.decode(line[6:])}
            except aiohttp.ClientConnectorError as error:
                raise self._blocked(error.os_error.strerror or repr(error)) from error
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_AGAIN_S)

    async def status(self) -> StatusView:
        """The daemon."""
        return msgspec.json.decode(await self._ask(routes.SHOW_STATUS), type=StatusView)

    async def drain(self, *, deadline_s: float | None = None, exit: bool = False) -> DrainView:
        """Has the daemon take no new sessions. Those that still run after ``deadline_s`` are ended
        then, and with ``exit`` the daemon exits once there are none."""
        body = msgspec.json.encode(DrainRequest(deadline_s, exit))
        return msgspec.json.decode(await self._ask(routes.DRAIN, body), type=DrainView)

    async def undrain(self) -> None:
        """Has it take sessions again."""
        await self._ask(routes.CANCEL_DRAIN)

    async def draining(self, *, wait_s: float = 0.0) -> DrainView:
        """How far it is; with ``wait_s`` (60 at most) as soon as no session is left or the drain is
        cancelled, or after so long. Raises :class:`ApiError`, also when the gateway leaves then."""
        answer = await self._ask(routes.SHOW_DRAIN, query={"wait": wait_s}, wait_s=wait_s)
        return msgspec.json.decode(answer, type=DrainView)

    async def reload(self, *, timeout_s: float = 60.0) -> None:
        """Has the daemon read its settings again and a new gateway take over; sessions go on. When
        it returns the new one serves. Raises :class:`ApiError`: the settings have a mistake, or no
        new gateway came up within ``timeout_s``; all is as it was then."""
        answer = await self._ask(routes.RELOAD)
        before = msgspec.json.decode(answer, type=ReloadView).restarts
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    await asyncio.sleep(_LOOK_S)
                    with contextlib.suppress(ApiError):  # between two gateways
                        if (await self.status()).gateway.restarts > before:
                            return
        detail = f"No new gateway has taken over within {timeout_s:g} s; the daemon's log says why."
        raise ApiError(Problem("", "", 0, "not_reloaded", detail), 0)


def _refusal(data: bytes, answer: aiohttp.ClientResponse) -> ApiError:
    after = answer.headers.get("Retry-After", "")
    retry_after_s = float(after) if after.isdigit() else None
    try:
        problem = msgspec.json.decode(data, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem("", "", answer.status, "http_error", f"HTTP {answer.status}.")
    return ApiError(problem, answer.status, retry_after_s)
