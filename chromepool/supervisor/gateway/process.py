"""One gateway: its process, its wire, and its signs of life."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from chromepool import wire
from chromepool.channel import Channel
from chromepool.inherited_fds import CONTROL_FD, DEVTOOLS_FD, EVIDENCE_FD, EVIDENCE_SIGNAL, WIRE_FD
from chromepool.supervisor.linux.reaper import process_state
from chromepool.supervisor.linux.spawn import Plan, spawn

_EVIDENCE_BYTES = 65536
_LINES = 80
BEAT_S = 2.0
"""How often a gateway is asked for a sign of life."""


class GatewayProcess:
    """A fresh interpreter, so that it also takes up new code. It loads, is welcomed, and serves."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        """Starts it. Raises :class:`StartFailed`, OSError.

        It drops root itself, once it has imported its code (which may lie where only root can
        read) and before it reads anything.
        """
        ours, theirs = wire.pair()
        evidence, written = os.pipe()
        os.set_blocking(evidence, False)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        fds = {0: null, 1: 1, 2: 2, WIRE_FD: theirs.fileno(), EVIDENCE_FD: written}
        served = [listener.fileno() for listener in listeners]
        fds |= dict(zip((CONTROL_FD, DEVTOOLS_FD), served, strict=True))
        argv = [sys.executable, "-P", "-m", "chromepool.gateway"]
        try:
            plan = Plan(argv=argv, env=self._environment(), fds=fds, umask=0o077)
            self.pid = spawn(plan, lambda pid: None)
        except BaseException:
            ours.close()
            os.close(evidence)
            raise
        finally:
            theirs.close()
            os.close(written)
            os.close(null)
        self.wire = Channel(ours)
        self._evidence = evidence
        self.started_at = self.heard_at = self.asked_at = self.looked_at = time.monotonic()
        self.loaded = self.ready = self.leaving = self.questioned = False
        self.kill_at: float | None = None
        """When it is killed: it hangs, or was asked to leave and does not."""

    @staticmethod
    def _environment() -> dict[str, str]:
        kept = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONTRACEMALLOC", "JOURNAL_STREAM")
        return {name: os.environ[name] for name in kept if name in os.environ}

    @property
    def connected(self) -> bool:
        """Whether there still are words with it."""
        return self.wire.sock.fileno() >= 0

    def silent_s(self, now: float) -> float:
        """For how long it has not been heard of, while it was asked to say something.

        A supervisor that was itself held up (stopped, or short of CPU time) has not listened, and
        counts nothing of that.
        """
        if now - self.looked_at > 2 * BEAT_S:
            self.heard_at = now
        self.looked_at = now
        return now - self.heard_at

    def question(self) -> None:
        """Has it say where it hangs; :meth:`evidence` reads that a little later."""
        self.questioned = True
        os.kill(self.pid, EVIDENCE_SIGNAL)

    def evidence(self) -> list[str]:
        """What there is to see of one that hangs: its state, and where each thread of it is."""
        found = [f"its main process is in state {process_state(self.pid) or 'gone'}"]
        try:
            said = os.read(self._evidence, _EVIDENCE_BYTES).decode(errors="replace")
        except BlockingIOError:
            said = "it does not say where it is"
        return (found + said.splitlines())[:_LINES]

    def kill(self) -> None:
        """SIGKILL; it is not reaped yet, so the pid is still its own."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Lets go of a dead one. May be called twice."""
        self.wire.close()
        if self._evidence >= 0:
            os.close(self._evidence)
            self._evidence = -1
