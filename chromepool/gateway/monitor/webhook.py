"""Sends alerts to somebody's HTTP server: signed, tried again, and never waited for."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures.thread  # noqa: F401  # imported late otherwise: root is dropped by then
import hashlib
import hmac
import secrets
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
import tenacity

from chromepool import __version__
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.metric_table import LABELS
from chromepool.gateway.monitor.sheet import MetricsPage

log = get_logger("chromepool.gateway.monitor")

SIGNATURE = "Chromepool-Signature"
TRY_S = 5.0
"""Time that each try has."""
TRIES = 5
WAITING = 100
"""What waits to be sent at most; then the oldest is let go."""
WAIT = tenacity.wait_exponential_jitter(initial=1, max=30, jitter=1)
_AGAIN = {408, 425, 429}
"""Statuses below 500 that another try may change (RFC 9110, 8470, 6585)."""


class _Failed(Exception):
    """It was not taken. The text is for the log: aiohttp's own may have the URL in it."""


class _TryAgain(_Failed):
    """Another try may do better."""


def sign(body: bytes, secret: str, now: int) -> str:
    """The header that shows who sent it, and when."""
    mac = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256)
    return f"t={now},v1={mac.hexdigest()}"


def shown(url: str) -> str:
    """Of a URL what may be logged: no password, and no path, which may be one as well."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Webhook:
    """A bounded queue, and a task that sends what is in it, one after the other."""

    def __init__(
        self,
        target: Callable[[], tuple[str, str]],
        *,
        try_s: float = TRY_S,
        wait: tenacity.wait.wait_base = WAIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``target`` gives URL and secret of now; no URL: nothing is sent; no secret: nothing is
        signed."""
        self._target, self._try_s, self._wait, self._clock = target, try_s, wait, clock
        self._queue: collections.deque[bytes] = collections.deque()
        self._more = asyncio.Event()
        self._busy = 0
        """Alerts that are being sent: one, or none."""
        self.sent = self.failed = self.dropped = 0

    @property
    def waiting(self) -> int:
        """What is still to be sent."""
        return len(self._queue)

    def send(self, body: dict[str, Any]) -> None:
        """Puts it into the queue, with an id of its own, and returns at once."""
        if not self._target()[0]:
            return
        if len(self._queue) >= WAITING:
            self._queue.popleft()
            self._drop(1)
        self._queue.append(msgspec.json.encode({"id": secrets.token_hex(16)} | body))
        self._more.set()

    def close(self) -> None:
        """Lets go of what is not sent yet, and says so. For when :meth:`run` has been cancelled."""
        unsent = len(self._queue) + self._busy
        self._queue.clear()
        self._busy = 0
        if unsent:
            self._drop(unsent)

    def _drop(self, alerts: int) -> None:
        self.dropped += alerts
        log.error("webhook.dropped", alerts=alerts, dropped=self.dropped)

    def write(self, sheet: MetricsPage) -> None:
        """Its part of the metrics."""
        sheet.put("webhook_waiting", self.waiting)
        for delivery in LABELS["delivery"]:
            sheet.put("webhook_alerts_total", getattr(self, delivery), delivery)

    async def run(self) -> None:
        """Sends for as long as the gateway lives."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                body = self._queue.popleft()
                self._busy = 1
                try:
                    await self._deliver(body)
                    self.sent += 1
                except Exception as error:  # or nothing would ever be sent again
                    self.failed += 1
                    why = str(error) if isinstance(error, _Failed) else type(error).__name__
                    log.error("webhook.failed", error=why)
                self._busy = 0

    async def _deliver(self, body: bytes) -> None:
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=self._wait,
            reraise=True,
        ):
            with attempt:
                await self._try(body)

    async def _try(self, body: bytes) -> None:
        url, secret = self._target()  # SIGHUP may have mended it meanwhile
        if not url:
            raise _Failed("webhook_url is empty now")
        try:
            status = await self._post(url, secret, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _TryAgain(f"{shown(url)}: {type(error).__name__}") from None
        if status >= 500 or status in _AGAIN:
            raise _TryAgain(f"{shown(url)} answered {status}")
        if not 200 <= status < 300:
            raise _Failed(f"{shown(url)} answered {status}")

    async def _post(self, url: str, secret: str, body: bytes) -> int:
        """The answer's status. A connection for each try: alerts are rare."""
        headers = {"Content-Type": "application/json", "User-Agent": f"chromepool/{__version__}"}
        if secret:
            headers[SIGNATURE] = sign(body, secret, int(self._clock()))
        timeout = aiohttp.ClientTimeout(total=self._try_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client,
            # Not followed: the operator named one place, and no other is to learn of this.
            client.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status
