"""Health checks: whether each Chrome still answers."""

import asyncio
import collections

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.pool import Pool
from chromepool.gateway.sessions.session import LAST_WORDS, Session
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.monitor")

_STRIKES = 2
"""Checks in a row that a Chrome may fail before its session is ended."""
_LAST_WORDS = 500
_STATES = {"T": "stopped", "t": "traced", "D": "in disk sleep", "Z": "a zombie", "": "gone"}
_TOGETHER = 8
"""Checks at one time: a pool of hundreds must not be woken all at once."""


class HealthChecker:
    """Checks each Chrome every ``health_interval_s``, except those that are frozen on purpose. A
    session whose Chrome does not answer twice in a row is ended as ``unhealthy``, with evidence."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._runtime = pool.runtime
        self._strikes: collections.Counter[int] = collections.Counter()
        self.rounds = 0
        self.checks = 0
        self.failures = 0
        """Checks without an answer."""

    async def run(self) -> None:
        """Check until the gateway ends."""
        while True:
            await asyncio.sleep(self._runtime.settings.health_interval_s)
            try:
                await self.check_all()
            except Exception:  # a round that fails once must not end all checks
                log.exception("health.failed")

    async def check_all(self) -> None:
        """Check every Chrome once, and wait until each has answered or has not in time."""
        chromes = self._pool.registry.chromes
        for key in self._strikes.keys() - {session.key for session in chromes}:
            del self._strikes[key]
        turn = asyncio.Semaphore(_TOGETHER)

        async def check(session: Session) -> None:
            async with turn:
                await self._check(session)

        await asyncio.gather(*(check(session) for session in chromes))
        self.rounds += 1

    async def _check(self, session: Session) -> None:
        if session.state is not State.READY or session.browser is None or session.browser.paused:
            return  # a paused Chrome waits for its only client, which does not read
        self.checks += 1
        try:
            timeout_s = self._runtime.settings.health_timeout_s
            await session.browser.call("Browser.getVersion", timeout_s=timeout_s)
        except NoAnswer:
            await self._strike(session)
        except (BrowserGone, CommandFailed):
            return  # its end is reported by others
        else:
            self._strikes.pop(session.key, None)

    async def _strike(self, session: Session) -> None:
        self.failures += 1
        self._strikes[session.key] += 1
        evidence = await self._evidence(session)
        public = evidence.partition(LAST_WORDS)[0]
        log.warning("session.silent", session=session.key, evidence=public)
        if self._strikes[session.key] >= _STRIKES and session.state is State.READY:
            detail = f"it did not answer {_STRIKES} health checks; {evidence}"
            self._pool.termination.end_later(session, Reason.UNHEALTHY, detail)

    async def _evidence(self, session: Session) -> str:
        """Return state and usage of a Chrome, seen from outside."""
        try:
            seen = await self._runtime.supervisor.inspect(session.key)
        except BrowserGone:
            return "it is gone"
        usage = seen.usage
        state = _STATES.get(seen.process, f"in state {seen.process}")
        words = seen.stderr.strip()[-_LAST_WORDS:]
        found = f"its main process is {state}; {usage.processes} processes, {usage.files} files"
        if usage.memory_bytes is not None:
            found += f", {usage.memory_bytes >> 20} MiB"
        if usage.cpu_s is not None:  # two checks tell a busy Chrome from a waiting one
            found += f", {usage.cpu_s:.2f} s of CPU time"
        return f"{found}{LAST_WORDS}{words}" if words else found
