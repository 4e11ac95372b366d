"""Canaries on a schedule, against the daemon's own control socket."""

import asyncio
import collections
import secrets

from chromepool import tokens
from chromepool.canary import Canary
from chromepool.client import Client
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.metric_table import LABELS, MetricsPage
from chromepool.gateway.runtime import Runtime
from chromepool.schema.admin import CanaryResult

log = get_logger("chromepool.gateway.monitor")

_NAME = "(canary)"
"""Name of the canary's token. No token of a file can have it: names have no parentheses."""


class CanaryLoop:
    """Sends a canary every ``canary_interval_s`` seconds, and counts how it ended."""

    def __init__(self, runtime: Runtime, digests: dict[str, str]) -> None:
        """``digests`` are the known tokens by name; the canary's own is added to them."""
        self._runtime = runtime
        self._digests = digests
        self._interval_s = runtime.settings.canary_interval_s
        self.outcomes = collections.Counter({"passed": 0, "failed": 0})
        self.failure: str | None = None if self._interval_s else ""
        """Reason why the last canary failed; empty: it passed. None: none has ended yet."""

    async def run(self) -> None:
        """Send canaries until the gateway ends."""
        while self._interval_s:
            await asyncio.sleep(self._interval_s)
            socket = self._runtime.settings.control_socket
            async with Client(socket, token=self._new_token()) as client:
                self._report(await Canary(client).fly())

    def _new_token(self) -> str:
        """Return a token in case ``require_token`` asks for one; it replaces the one before."""
        token = secrets.token_hex()
        self._digests[_NAME] = tokens.digest(token)
        return token

    def _report(self, result: CanaryResult) -> None:
        if result.ok:
            self.failure = ""
            log.info("canary.passed", steps_s=result.steps_s)
        else:
            self.failure = f"{result.step}: {result.error}"
            log.warning("canary.failed", step=result.step, error=result.error)
        outcome = "passed" if result.ok else "failed"
        self.outcomes[outcome] += 1
        self._runtime.events.emit(
            f"canary.{outcome}",
            ok=result.ok,
            step=result.step,
            error=result.error,
            steps_s=result.steps_s,
        )

    def write_metrics(self, page: MetricsPage) -> None:
        """Write the canaries' part of the metrics."""
        page.put_each("canaries_total", self.outcomes, LABELS["result"])
