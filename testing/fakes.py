"""Small stand-ins that keep a protocol: a browser, a supervisor, a pool without Chromes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import structlog

from chromepool import wire
from chromepool.config import Settings
from chromepool.errors import BrowserGone, NoAnswer, StartFailed
from chromepool.gateway.browser.browser import Browser, Traffic
from chromepool.gateway.capacity import memory
from chromepool.gateway.event_stream import EventStream
from chromepool.gateway.http.close_codes import close_code
from chromepool.gateway.http.services import Services
from chromepool.gateway.main import subscribe_pool
from chromepool.gateway.runtime import EventBus, Runtime, Tasks
from chromepool.gateway.sessions import warm_pool
from chromepool.gateway.sessions.deadlines import Deadlines
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import Host, Reason, State, Usage
from testing.clock import Clock

LIMITS = Settings().session_limits
HOST = Host(True, "v2", (), private_mounts=True, sandbox=True, chrome="/c", freezer=True)


class FakeBrowser:
    """Answers every command, except those it was told to ignore."""

    def __init__(self, *ignores: str) -> None:
        self._ignores = ignores
        self.clients: list[Any] = []
        self.crashes: list[Any] = []
        self.version: dict[str, Any] = {}
        self.traffic = Traffic()
        self.asked_to_close = False
        self.paused = False
        self.base = ""
        self.log = structlog.stdlib.get_logger("test")

    async def call(self, method: str, *_: Any, **__: Any) -> dict[str, Any]:
        if method in self._ignores:
            raise NoAnswer(f"Chrome did not answer {method}.")
        return {}

    def release(self) -> None:
        pass


def fake_browser(*ignores: str) -> Browser:
    """A :class:`FakeBrowser` for where a browser is expected."""
    return cast(Browser, FakeBrowser(*ignores))


class FakeClient:
    """Records how it was closed."""

    def __init__(self) -> None:
        self.closed: list[int] = []

    def session_ended(self, reason: Reason, _: str) -> None:
        self.closed.append(close_code(reason))


class FakeSupervisor:
    """Ends sessions at once, and records what it was asked."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self.asked: list[tuple[str, int]] = []

    def send(self, message: wire.Message, fds: tuple[int, ...] = ()) -> None:
        for fd in fds:
            os.close(fd)
        match message:
            case wire.Stop(key=key):
                self._bus.publish(wire.Gone(key, Usage()))
            case wire.Freeze(key=key):
                self.asked.append(("freeze", key))
            case wire.Thaw(key=key):
                self.asked.append(("thaw", key))

    async def inspect(self, _: int) -> Any:
        raise BrowserGone("")


class FakePool:
    """A pool whose Chromes start by ``start``, on a clock that is set by hand."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        host: Host = HOST,
        supervisor: Callable[[EventBus], Any] = FakeSupervisor,
        **settings: Any,
    ) -> None:
        self.clock = Clock(100.0)
        given = {"creations_per_minute": 0, "warm_sessions": 0, "close_timeout_s": 0} | settings
        bus = EventBus()
        self.supervisor = supervisor(bus)
        self.runtime = Runtime(
            settings=Settings(**given),
            host=host,
            clock=self.clock,
            bus=bus,
            events=EventStream(self.clock, bus.publish),
            supervisor=cast(SupervisorClient, self.supervisor),
            tasks=Tasks(),
        )
        self.parts = Pool(self.runtime)
        self.registry = self.parts.registry
        self.admission = self.parts.admission
        self.creation = self.parts.creation
        self.termination = self.parts.termination
        self.warm_pool = self.parts.warm_pool
        self.deadlines = Deadlines(self.parts)
        subscribe_pool(self.parts, self.deadlines)
        self.start: Callable[[Session], Awaitable[None]] = self.succeed
        self.memory: int | None = None
        monkeypatch.setattr(self.parts.starter, "_bring_up", self._bring_up)
        monkeypatch.setattr(memory, "left", lambda group: self.memory)
        monkeypatch.setattr(warm_pool, "SETTLE_S", 0)

    async def _bring_up(self, session: Session) -> None:
        await self.start(session)

    async def succeed(self, session: Session) -> None:
        session.browser = fake_browser()
        session.pid = 1
        session.move(State.READY)

    async def fail(self, session: Session) -> None:
        raise StartFailed("The fake does not start.")

    def states(self) -> list[tuple[str, State]]:
        return [(session.owner, session.state) for session in self.registry.chromes]


def fake_services(pool: FakePool) -> Services:
    """Services for applications whose routes are looked at; no handler runs."""
    nobody = cast(Any, None)
    return Services(pool.parts, nobody, nobody, nobody, nobody, nobody, None, nobody, {})


def without_freezer() -> Host:
    """A host on which no Chrome can be frozen."""
    return dataclasses.replace(HOST, freezer=False)
