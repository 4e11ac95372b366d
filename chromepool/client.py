"""Client of the control API, over the daemon's Unix socket or over TCP.

::

    async with chromepool.Client() as client:
        async with client.session(viewport={"width": 1280, "height": 720}) as session:
            browser = await session.pyppeteer()
            page = await browser.newPage()
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import NoneType
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
    Problem,
    QueueView,
    ReloadView,
    StatusView,
    WaiterView,
)
from chromepool.schema.history import HistoryPage, PastSessionWithEvents
from chromepool.schema.routes import Route
from chromepool.schema.session import CreateSession, SessionList, SessionView

T = TypeVar("T")
_BASE = "http://chromepool"
_START_ATTEMPTS = 3
_TIMEOUT_S = 120.0
_SILENCE_S = 60.0
"""Silence after which an event stream is broken: the daemon sends a comment every 15 seconds."""
_AGAIN_S = 0.5
"""Pause before a broken event stream is opened again."""
_LOOK_S = 0.1
"""Pause between two looks at whether a new gateway has taken over."""


class ApiError(ChromepoolError):
    """The daemon refused a request.

    ``code`` and ``status`` are those of its problem document; ``retry_after_s`` is the time after
    which it suggests another try.
    """

    def __init__(self, problem: Problem, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail, remedy=problem.remedy, retry_after_s=retry_after_s)
        self.code = problem.code
        self.status = status


class Session:
    """A session that can be driven, kept alive and closed."""

    def __init__(self, client: Client, info: SessionView) -> None:
        self._client = client
        self.info = info
        self._browsers: list[Any] = []

    @property
    def id(self) -> str:
        """Id of the session; with it anybody can drive the session."""
        return self.info.id

    @property
    def url(self) -> str:
        """WebSocket of the session's browser, for any DevTools client."""
        return self.info.webSocketDebuggerUrl

    @property
    def devtools_url(self) -> str:
        """Base URL of ``/json/version``, ``/json/list`` and Chrome's other HTTP endpoints."""
        return self.info.devtools_url

    async def refresh(self) -> SessionView:
        """Ask for the current state of the session."""
        self.info = await self._client.show(self.id)
        return self.info

    async def keepalive(self) -> None:
        """Restart the idle timeout. Raises :class:`ApiError` when the session has ended."""
        self.info = await self._client.keepalive(self.id)

    async def pyppeteer(self, **options: Any) -> Any:
        """Connect a pyppeteer ``Browser``; ``options`` are those of ``pyppeteer.connect``.

        The browser is disconnected by :meth:`close`, or at the end of ``client.session()``.
        """
        from pyppeteer import connect

        # pyppeteer cannot send headers; where no token is required, the parameter is ignored.
        token = self._client.token
        query = f"?token={urllib.parse.quote(token, safe='')}" if token else ""
        browser = await connect(browserWSEndpoint=self.url + query, **options)
        self._browsers.append(browser)
        return browser

    async def disconnect(self) -> None:
        """Disconnect every browser of :meth:`pyppeteer`. May be called again."""
        while self._browsers:
            await self._browsers.pop().disconnect()

    async def close(self) -> None:
        """End the session; nothing of it is left when this returns. May be called again."""
        await self.disconnect()
        try:
            await self._client.delete(self.id)
        except ApiError as error:
            if error.code != "session_not_found":
                raise


class Client:
    """Access to the sessions of a daemon: ``async with Client() as client: ...``."""

    def __init__(self, address: str | os.PathLike[str] = "", *, token: str = "") -> None:
        """``address`` is the path of the control socket, or ``http://host:port`` of a daemon that
        offers its API on TCP (``control_tcp``); empty: the socket of this machine's daemon.
        ``token`` is sent over TCP to the API and to DevTools.
        """
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

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def _ask(
        self, route: Route, kind: type[T], *, body: object = None, id: str = "", **query: Any
    ) -> T:
        """Send a request, and decode its answer; no answer counts as None."""
        data = None if body is None else msgspec.json.encode(body)
        timeout_s = _TIMEOUT_S + query.get("wait", 0.0)
        answer = await self._send(route.method, route.url(query, id=id), data, timeout_s)
        return msgspec.json.decode(answer or b"null", type=kind)

    @tenacity.retry(  # a daemon that starts creates the socket a moment before it answers there
        retry=tenacity.retry_if_exception_type(DaemonUnreachable),
        stop=tenacity.stop_after_attempt(_START_ATTEMPTS),
        wait=tenacity.wait_fixed(0.2),
        reraise=True,
    )
    async def _send(self, method: str, url: str, data: bytes | None, timeout_s: float) -> bytes:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http.request(method, url, data=data, timeout=timeout) as answer:
                found = await answer.read()
                if answer.status >= 400:
                    raise _refusal(found, answer)
                return found
        except aiohttp.ClientConnectorError as error:
            raise self._blocked(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            # Not tried again: the daemon may have done what was asked.
            detail = f"The daemon gave no answer: {error!r}."
            raise ApiError(Problem("", "", 0, "no_answer", detail), 0) from error

    def _blocked(self, error: aiohttp.ClientConnectorError) -> DaemonUnreachable:
        why = error.os_error.strerror or repr(error)
        return DaemonUnreachable(
            f"No daemon answers at {self._address}: {why}.",
            remedy="Start one with `chromepool serve`, or give its --runtime-dir.",
        )

    async def create(self, *, wait_s: float = 0.0, **options: Any) -> SessionView:
        """Create a session; ``options`` are the fields of
        :class:`~chromepool.schema.session.CreateSession`. Waits up to ``wait_s`` for a slot.

        Raises :class:`InvalidRequest` for options that no daemon accepts, :class:`ApiError`,
        :class:`DaemonUnreachable`.
        """
        try:
            request = msgspec.convert(options, CreateSession)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"The options of the session are not valid: {error}.") from error
        return await self._ask(routes.CREATE_SESSION, SessionView, body=request, wait=wait_s)

    @contextlib.asynccontextmanager
    async def session(self, *, wait_s: float = 0.0, **options: Any) -> AsyncIterator[Session]:
        """Create a session that ends with the block: ``async with client.session() as s: ...``."""
        session = Session(self, await self.create(wait_s=wait_s, **options))
        try:
            yield session
        finally:
            await session.close()

    async def find(self, labels: Mapping[str, str]) -> tuple[Session, ...]:
        """Find the running sessions that have all of these labels."""
        found = [s for s in await self.list() if labels.items() <= s.labels.items()]
        return tuple(Session(self, info) for info in found)

    async def list(self, *, ended: bool = False) -> builtins.list[SessionView]:
        """List the running sessions; with ``ended`` also those that have ended."""
        return (await self._ask(routes.LIST_SESSIONS, SessionList, all=int(ended))).sessions

    async def show(self, session_id: str) -> SessionView:
        """Show one session."""
        return await self._ask(routes.SHOW_SESSION, SessionView, id=session_id)

    async def keepalive(self, session_id: str) -> SessionView:
        """Restart the idle timeout of a session."""
        return await self._ask(routes.KEEP_ALIVE, SessionView, id=session_id)

    async def delete(self, session_id: str) -> None:
        """End a session; nothing of it is left when this returns."""
        await self._ask(routes.DELETE_SESSION, NoneType, id=session_id)

    async def queue(self) -> tuple[WaiterView, ...]:
        """List the callers that wait for a slot, the next one first."""
        return tuple((await self._ask(routes.LIST_QUEUE, QueueView)).waiting)

    async def history(
        self,
        *,
        since: str = "",
        owner: str = "",
        reason: str = "",
        limit: int | None = None,
        after: str | None = None,
    ) -> HistoryPage:
        """List past sessions, the newest first.

        ``since`` is a time such as ``2h``; ``after`` is the ``next`` of the previous page.
        """
        given: Any = {"since": since, "owner": owner, "reason": reason, "after": after}
        return await self._ask(routes.LIST_HISTORY, HistoryPage, **given, limit=limit)

    async def past(self, session_id: str) -> PastSessionWithEvents:
        """Show one past session, with its events."""
        return await self._ask(routes.SHOW_HISTORY, PastSessionWithEvents, id=session_id)

    async def events(self, after: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """Follow the events of the caller's sessions, from the one after the number ``after``.

        A broken connection is opened again, and the events in between follow. An ``events.lost``
        replaces those that the daemon no longer has: its history is off, or has dropped them, or
        its gateway was killed.

        Raises :class:`ApiError` for a refusal, :class:`DaemonUnreachable` without a daemon.
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
                raise self._blocked(error) from error
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_AGAIN_S)

    async def status(self) -> StatusView:
        """Show the state of the daemon."""
        return await self._ask(routes.SHOW_STATUS, StatusView)

    async def drain(self, *, deadline_s: float | None = None, exit: bool = False) -> DrainView:
        """Have the daemon accept no new sessions.

        Sessions that still run after ``deadline_s`` are ended; with ``exit`` the daemon exits when
        none is left.
        """
        return await self._ask(routes.DRAIN, DrainView, body=DrainRequest(deadline_s, exit))

    async def undrain(self) -> None:
        """Have the daemon accept sessions again."""
        await self._ask(routes.CANCEL_DRAIN, NoneType)

    async def draining(self, *, wait_s: float = 0.0) -> DrainView:
        """Show how far a drain is.

        With ``wait_s`` (60 at most) the answer comes when no session is left, when the drain is
        cancelled, or after that time. Raises :class:`ApiError`, also when the gateway exits first.
        """
        return await self._ask(routes.SHOW_DRAIN, DrainView, wait=wait_s)

    async def reload(self, *, timeout_s: float = 60.0) -> None:
        """Have the daemon read its settings again; return when a new gateway has taken over.

        Sessions continue. Raises :class:`ApiError` when a setting is wrong, or when no new gateway
        serves within ``timeout_s``; then nothing has changed.
        """
        before = (await self._ask(routes.RELOAD, ReloadView)).restarts
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    await asyncio.sleep(_LOOK_S)
                    with contextlib.suppress(ApiError):  # between two gateways
                        if (await self.status()).gateway.restarts > before:
                            return
        detail = f"No new gateway has taken over within {timeout_s:g} s; see the log of the daemon."
        raise ApiError(Problem("", "", 0, "not_reloaded", detail), 0)


def _refusal(data: bytes, answer: aiohttp.ClientResponse) -> ApiError:
    after = answer.headers.get("Retry-After", "")
    try:
        problem = msgspec.json.decode(data, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem("", "", answer.status, "http_error", f"HTTP {answer.status}.")
    return ApiError(problem, answer.status, float(after) if after.isdigit() else None)
