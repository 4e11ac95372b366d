"""A client of the control API."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import tenacity

from chromepool.errors import ChromepoolError, ClientBlocked

_BASE = "http://chromepool"
_START_ATTEMPTS = 3


class ApiError(ChromepoolError):
    """The daemon refused. ``code`` and ``status`` are those of its problem document."""

    def __init__(self, problem: dict[str, Any], status: int) -> None:
        super().__init__(problem.get("detail", "no detail"), remedy=problem.get("remedy", ""))
        self.code = problem.get("code", "http_error")
        self.status = status


class Client:
    """Sessions over the daemon's Unix socket: ``async with Client(path) as client: ...``."""

    def __init__(self, control_socket: Path) -> None:
        self._path = control_socket
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(str(self._path))
        timeout = aiohttp.ClientTimeout(total=120)
        self._http = aiohttp.ClientSession(_BASE, connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    @tenacity.retry(  # the socket is there a moment before somebody answers on it
        retry=tenacity.retry_if_exception_type(ClientBlocked),
        stop=tenacity.stop_after_attempt(_START_ATTEMPTS),
        wait=tenacity.wait_fixed(0.2),
        reraise=True,
    )
    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            async with self._http.request(method, path, json=body) as answer:
                if answer.status >= 400:
                    raise ApiError(await answer.json(content_type=None), answer.status)
                return None if answer.status == 204 else await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            why: object = error
            if isinstance(error, aiohttp.ClientConnectorError):
                why = error.os_error.strerror
            raise ClientBlocked(
                f"No daemon answers at {self._path}: {why or error!r}.",
                remedy="Start it with `chromepool serve`, or name its --runtime-dir.",
            ) from error

    async def create(
        self, labels: dict[str, str] | None = None, limits: dict[str, float] | None = None
    ) -> dict[str, Any]:
        """A new session, ready to be driven. Raises :class:`ApiError`, :class:`ClientBlocked`."""
        body = {"labels": labels or {}, "limits": limits or {}}
        session: dict[str, Any] = await self._ask("POST", "/v1/sessions", body)
        return session

    async def list(self, *, ended: bool = False) -> list[dict[str, Any]]:
        """The sessions that run; with ``ended`` also those that are over."""
        answer = await self._ask("GET", "/v1/sessions" + ("?all=1" if ended else ""))
        sessions: list[dict[str, Any]] = answer["sessions"]
        return sessions

    async def show(self, session_id: str) -> dict[str, Any]:
        """One session."""
        session: dict[str, Any] = await self._ask("GET", f"/v1/sessions/{session_id}")
        return session

    async def delete(self, session_id: str) -> None:
        """Ends a session; nothing of it is left when this returns."""
        await self._ask("DELETE", f"/v1/sessions/{session_id}")

    async def status(self) -> dict[str, Any]:
        """The daemon."""
        status: dict[str, Any] = await self._ask("GET", "/v1/status")
        return status
