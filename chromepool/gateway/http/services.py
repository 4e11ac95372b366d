"""The parts of the gateway that the handlers of both listeners use."""

from __future__ import annotations

import collections
import dataclasses

from chromepool import wire
from chromepool.gateway.history.writer import HistoryWriter
from chromepool.gateway.monitor.alert_loop import AlertLoop
from chromepool.gateway.monitor.canary_loop import CanaryLoop
from chromepool.gateway.monitor.health import HealthChecker
from chromepool.gateway.monitor.metrics import Metrics
from chromepool.gateway.sessions.drain import Drainer
from chromepool.gateway.sessions.pool import Pool


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
