"""The parts of the gateway that handlers use, and what all handlers have in common."""

import collections
import dataclasses
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from chromepool import wire
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.http.identity import Identify
from chromepool.gateway.http.problems import NUMBER
from chromepool.gateway.monitor.alert_loop import AlertLoop
from chromepool.gateway.monitor.canary_loop import CanaryLoop
from chromepool.gateway.monitor.health import HealthChecker
from chromepool.gateway.monitor.metrics import Metrics
from chromepool.gateway.sessions.drain import Drainer
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import Session

View = TypeVar("View", bound=msgspec.Struct)


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """The parts of one gateway as its handlers see them."""

    pool: Pool
    drainer: Drainer
    metrics: Metrics
    health: HealthChecker
    canaries: CanaryLoop
    alerts: AlertLoop
    history: HistoryWriter | None
    """None where the operator wants none."""
    welcome: wire.Welcome
    digests: dict[str, str]
    """Digests of the tokens by name; the canary's own is added to them."""
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """WebSockets that were closed as ``slow`` or ``dead``."""


class Handlers:
    """Handlers of a part of an API; each has the name of its route, in lower case."""

    def __init__(self, services: Services, identify: Identify) -> None:
        self._services = services
        self._pool = services.pool
        self._identify = identify

    def _find(self, request: web.Request) -> Session:
        """Find the session that a path names, also one that has ended."""
        session = self._identify(request).find(self._pool.registry, request.match_info["id"])
        request[NUMBER] = session.key
        return session

    def _live(self, request: web.Request) -> tuple[Session, Browser]:
        """Find the session that a path names, and its browser; raise if it has none now."""
        return self._pool.registry.live(self._find(request).id)


def view(kind: type[View], source: object, **more: Any) -> View:
    """Make an answer from the attributes of ``source`` that its fields name, and from ``more``."""
    copied = [name for name in kind.__struct_fields__ if name not in more]
    return kind(**{name: getattr(source, name) for name in copied}, **more)


def json_response(body: object, status: int = 200) -> web.Response:
    """Make a response whose body is JSON."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )
