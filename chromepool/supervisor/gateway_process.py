"""Starting the gateway, and starting it again when it dies."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Sequence

from chromepool import wire
from chromepool.config import Settings
from chromepool.model import Host
from chromepool.supervisor.spawn import Plan, spawn
from chromepool.supervisor.wire_end import WireEnd

WIRE_FD, CONTROL_FD, DEVTOOLS_FD = 3, 4, 5
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0
"""A gateway that lived this long owes nothing for earlier deaths."""


class GatewayProcess:
    """The gateway of now, its wire, and when the next one may start."""

    def __init__(
        self,
        settings: Settings,
        tokens: dict[str, str],
        host: Host,
        listeners: Sequence[socket.socket],
        webhook_secret: str = "",
    ) -> None:
        """``tokens`` are names and digests, as :mod:`chromepool.tokens` reads them."""
        self.configure(settings, tokens, webhook_secret)
        self._host = host
        self._listeners = listeners
        self.wire: WireEnd | None = None
        self.pid = 0
        self.starts = 0
        self._pause_s = 0.0
        self._started_at = 0.0
        self.start_at = 0.0
        """When the next start is due (monotonic)."""

    def configure(self, settings: Settings, tokens: dict[str, str], webhook_secret: str) -> None:
        """What the next gateway is told when it starts."""
        self._settings, self._tokens, self._secret = settings, tokens, webhook_secret

    def start(self) -> WireEnd:
        """Starts a gateway: a fresh interpreter, so that it also takes up new code.

        It drops root itself, once it has imported its code (which may lie where only root can
        read) and before it reads anything that is not from us.
        """
        ours, theirs = wire.pair()
        fds = {0: self._null(), 1: 1, 2: 2, WIRE_FD: theirs.fileno()}
        fds |= dict(
            zip((CONTROL_FD, DEVTOOLS_FD), [s.fileno() for s in self._listeners], strict=True)
        )
        argv = [sys.executable, "-P", "-m", "chromepool.gateway"]
        try:
            plan = Plan(argv=argv, env=self._environment(), fds=fds, umask=0o077)
            self.pid = spawn(plan, lambda pid: None)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(fds[0])
        self.starts += 1
        self._started_at = time.monotonic()
        self.wire = WireEnd(ours)
        settings = dataclasses.asdict(self._settings)
        restarts = self.starts - 1
        self.wire.send(
            wire.Welcome(settings, self._host, self._tokens, self._secret, restarts=restarts)
        )
        return self.wire

    @staticmethod
    def _null() -> int:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    @staticmethod
    def _environment() -> dict[str, str]:
        kept = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONTRACEMALLOC", "JOURNAL_STREAM")
        return {name: os.environ[name] for name in kept if name in os.environ}

    def died(self) -> float:
        """Forgets the dead gateway and sets when the next may start; returns the pause (s)."""
        now = time.monotonic()
        if now - self._started_at > _STEADY_S:
            self._pause_s = 0.0
        self.start_at = now + self._pause_s
        pause, self._pause_s = self._pause_s, min(_LONGEST_PAUSE_S, max(0.5, self._pause_s * 2))
        if self.wire is not None:
            self.wire.close()
        self.wire, self.pid = None, 0
        return pause
