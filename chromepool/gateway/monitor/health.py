"""Asking every Chrome, now and then, whether it is still there."""

from __future__ import annotations

import asyncio
import collections

from chromepool.errors import BrowserGone, CommandFailed, NoAnswer
from chromepool.gateway.log import get_logger
from chromepool.gateway.sessions.manager import Manager
from chromepool.gateway.sessions.session import LAST_WORDS, Session
from chromepool.model import Reason, State

log = get_logger("chromepool.gateway.monitor")

_STRIKES = 2
"""Checks in a row that a Chrome may fail before it is ended."""
_LAST_WORDS = 500
_STATES = {"T": "stopped", "t": "traced", "D": "in disk sleep", "Z": "a zombie", "": "gone"}
_TOGETHER = 8
"""Checks at one time: a pool of hundreds is not to be woken all at once."""


class Health:
    """Checks each Chrome every ``health_interval_s``; one that is frozen on purpose is left alone.

    One that does not answer twice in a row is ended as ``unhealthy``, with what could be found out
    about it. The warm pool replaces its own.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._strikes: collections.Counter[int] = collections.Counter()

    async def run(self) -> None:
        """Checks for as long as the gateway lives."""
        while True:
            await asyncio.sleep(self._manager.settings.health_interval_s)
            try:
                await self.check_all()
            except Exception:  # or no Chrome would ever be checked again
                log.exception("health.failed")

    async def check_all(self) -> None:
        """One round; it is over when every Chrome has answered, or has not in time."""
        alive = {session.key for session in self._manager.chromes}
        self._strikes = collections.Counter(
            {key: count for key, count in self._strikes.items() if key in alive}
        )
        turn = asyncio.Semaphore(_TOGETHER)

        async def check(session: Session) -> None:
            async with turn:
                await self._check(session)

        await asyncio.gather(*(check(session) for session in self._manager.chromes))
        self._manager.health.rounds += 1

    async def _check(self, session: Session) -> None:
        if session.state is not State.READY or session.browser is None:
            return
        if session.browser.paused:  # it waits for its only client, which does not read
            return
        self._manager.health.checks += 1
        try:
            timeout_s = self._manager.settings.health_timeout_s
            await session.browser.call("Browser.getVersion", timeout_s=timeout_s)
        except NoAnswer:
            await self._strike(session)
        except (BrowserGone, CommandFailed):
            return  # its end is told by others
        else:
            self._strikes.pop(session.key, None)

    async def _strike(self, session: Session) -> None:
        self._manager.health.failures += 1
        self._strikes[session.key] += 1
        evidence = await self._evidence(session)
        seen = evidence.partition(LAST_WORDS)[0]
        log.warning("session.silent", session=session.key, evidence=seen)
        if self._strikes[session.key] >= _STRIKES and session.state is State.READY:
            detail = f"it did not answer {_STRIKES} health checks; {evidence}"
            self._manager.later(self._manager.end(session, Reason.UNHEALTHY, detail))

    async def _evidence(self, session: Session) -> str:
        """What can be seen of it from outside."""
        try:
            seen = await self._manager.link.inspect(session.key)
        except BrowserGone:
            return "it is gone"
        usage = seen.usage
        state = _STATES.get(seen.process, f"in state {seen.process}")
        words = seen.stderr.strip()[-_LAST_WORDS:]
        found = f"its main process is {state}; {usage.processes} processes, {usage.files} files"
        if usage.memory_bytes is not None:
            found += f", {usage.memory_bytes >> 20} MiB"
        if usage.cpu_s is not None:  # two looks tell one that is busy from one that waits
            found += f", {usage.cpu_s:.2f} s of CPU time"
        return f"{found}{LAST_WORDS}{words}" if words else found
