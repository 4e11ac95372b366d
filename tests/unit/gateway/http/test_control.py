"""Answers of the control API that need no Chrome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from chromepool.gateway.http.control import Control
from chromepool.gateway.http.identity import Identity
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Usage
from chromepool.schema.session import SessionView
from testing.fakes import FakePool, fake_services

Create = Callable[..., tuple[SessionView, Any, list[float]]]


class FakeCreation:
    """Adds a session whose Chrome runs, and no supervisor that could be asked about it."""

    def __init__(self, pool: FakePool, usage: Usage) -> None:
        self._pool = pool
        self._usage = usage
        self.waits: list[float] = []

    async def create(self, spec: SessionSpec, wait_s: float) -> Session:
        self.waits.append(wait_s)
        session = self._pool.registry.add(spec, held=False)
        session.pid = 4711
        session.usage = self._usage
        return session


@pytest.fixture
def create(monkeypatch: pytest.MonkeyPatch) -> Create:
    """Create a session with this usage: its view, the headers, and how long the caller waited."""

    def make(
        usage: Usage, path: str = "/v1/sessions", **headers: str
    ) -> tuple[SessionView, Any, list[float]]:
        pool = FakePool(monkeypatch, queue_wait_s=60)
        creation = FakeCreation(pool, usage)
        pool.parts.creation = cast(Any, creation)
        control = Control(fake_services(pool), lambda request: Identity("uid:1000"))
        request = make_mocked_request("POST", path, headers=headers)
        request._read_bytes = b""
        answer = asyncio.run(control.create_session(request))
        assert answer.status == 201
        view = msgspec.json.decode(cast(bytes, answer.body), type=SessionView)
        return view, answer.headers, creation.waits

    return make


def test_the_usage_of_a_new_session_is_what_is_known_without_the_supervisor(create: Create) -> None:
    view, headers, _ = create(Usage())
    assert headers["Location"] == f"/v1/sessions/{view.id}"
    assert (view.usage.memory_bytes, view.usage.cpu_s, view.usage.files) == (None, None, None)
    assert view.usage.cdp_messages_in == 0

    warm, _, _ = create(Usage(memory_bytes=70, files=200))
    assert (warm.usage.memory_bytes, warm.usage.files) == (70, 200)


def test_a_wait_is_of_the_query_or_else_of_the_header_and_has_a_bound(create: Create) -> None:
    assert create(Usage())[2] == [0.0]
    assert create(Usage(), "/v1/sessions?wait=2.5")[2] == [2.5]
    assert create(Usage(), "/v1/sessions?wait=61")[2] == [60.0]
    _, headers, waits = create(Usage(), Prefer="respond-async, wait=7")
    assert (headers["Preference-Applied"], waits) == ("wait", [7.0])
    _, headers, waits = create(Usage(), "/v1/sessions?wait=2", Prefer="wait=7")
    assert waits == [2.0]
    assert "Preference-Applied" not in headers
