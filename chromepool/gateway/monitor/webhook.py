"""Alerts for the operator's HTTP server, signed and retried; nothing ever waits for them.

Requests follow Standard Webhooks, so that receivers can verify them with a library:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import base64
import concurrent.futures.thread  # noqa: F401  # imported late otherwise: root is dropped by then
import hashlib
import hmac
import secrets
import time
import urllib.parse
from typing import Any

import aiohttp
import msgspec
import tenacity

from chromepool import __version__, tokens
from chromepool.gateway.log import get_logger
from chromepool.gateway.monitor.metric_table import LABELS, MetricsPage

log = get_logger("chromepool.gateway.monitor")

TRY_S = 5.0
"""Time limit of one try."""
TRIES = 5
MAX_WAITING = 100
"""Alerts in the queue at most; one more drops the oldest."""
WAIT = tenacity.wait_exponential_jitter(initial=1, max=30, jitter=1)
_RETRIED = {408, 425, 429}
"""Statuses below 500 that another try may change (RFC 9110, 8470, 6585)."""


class _Failed(Exception):
    """The receiver did not accept an alert. The text is safe to log; aiohttp's may hold the URL."""


class _TryAgain(_Failed):
    """Another try may succeed."""


def signatures(delivery: str, body: bytes, secret: str, now: int) -> dict[str, str]:
    """Return the headers that prove who sent a request, and when (seconds since 1970)."""

    def mac(key: bytes, signed: str) -> bytes:
        return hmac.digest(key, signed.encode() + body, hashlib.sha256)

    standard = mac(tokens.webhook_key(secret), f"{delivery}.{now}.")
    return {
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
        # For receivers that were written against version 0.1.
        "Chromepool-Signature": f"t={now},v1={mac(secret.encode(), f'{now}.').hex()}",
    }


def loggable(url: str) -> str:
    """Return the part of a URL that may be logged: no password, and no path, which may be one."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Webhook:
    """A bounded queue of alerts, and a task that sends them one after the other."""

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        try_s: float = TRY_S,
        wait: tenacity.wait.wait_base = WAIT,
    ) -> None:
        """Without ``url`` nothing is sent, without ``secret`` nothing is signed."""
        self._url = url
        self._secret = secret
        self._try_s = try_s
        self._retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=wait,
            reraise=True,
        )
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_WAITING)
        self._sending = 0
        """Number of alerts that are being sent: one, or none."""
        self.sent = 0
        self.failed = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Number of alerts in the queue."""
        return self._queue.qsize()

    def send(self, body: dict[str, Any]) -> None:
        """Put an alert into the queue, with an id of its own, and return at once."""
        if not self._url:
            return
        if self._queue.full():
            self._queue.get_nowait()
            self._drop(1)
        delivery = secrets.token_hex(16)
        self._queue.put_nowait((delivery, msgspec.json.encode({"id": delivery} | body)))

    def close(self) -> None:
        """Drop all unsent alerts and log their number. To be called once :meth:`run` is over."""
        unsent = self.waiting + self._sending
        self._queue = asyncio.Queue(MAX_WAITING)
        self._sending = 0
        if unsent:
            self._drop(unsent)

    def _drop(self, alerts: int) -> None:
        self.dropped += alerts
        log.error("webhook.dropped", alerts=alerts, dropped=self.dropped)

    def write(self, page: MetricsPage) -> None:
        """Write the webhook's metrics."""
        page.put("webhook_waiting", self.waiting)
        for delivery in LABELS["delivery"]:
            page.put("webhook_alerts_total", getattr(self, delivery), delivery)

    async def run(self) -> None:
        """Send alerts until cancelled."""
        while True:
            delivery, body = await self._queue.get()
            self._sending = 1
            try:
                await self._retrying(self._try, delivery, body)
                self.sent += 1
            except Exception as error:  # or no alert would ever be sent again
                self.failed += 1
                why = str(error) if isinstance(error, _Failed) else type(error).__name__
                log.error("webhook.failed", error=why)
            self._sending = 0

    async def _try(self, delivery: str, body: bytes) -> None:
        try:
            status = await self._post(delivery, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _TryAgain(f"{loggable(self._url)}: {type(error).__name__}") from None
        if status >= 500 or status in _RETRIED:
            raise _TryAgain(f"{loggable(self._url)} answered {status}")
        if not 200 <= status < 300:
            raise _Failed(f"{loggable(self._url)} answered {status}")

    async def _post(self, delivery: str, body: bytes) -> int:
        """Return the answer's status. Each try opens a connection: alerts are rare."""
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"chromepool/{__version__}",
            "webhook-id": delivery,
            "webhook-timestamp": str(now),
        }
        if self._secret:
            headers |= signatures(delivery, body, self._secret, now)
        timeout = aiohttp.ClientTimeout(total=self._try_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client,
            # No redirects: only the server that the operator named may see this.
            client.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status
