"""A gateway: its process, its end of the wire, and its signs of life."""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from chromepool import wire
from chromepool.channel import Channel
from chromepool.startup import CONTROL_FD, DEVTOOLS_FD, EVIDENCE_FD, EVIDENCE_SIGNAL, WIRE_FD
from chromepool.supervisor.linux.reaper import process_state
from chromepool.supervisor.linux.spawn import Plan, spawn

_STACKS_BYTES = 65536
"""A pipe holds no more (pipe(7))."""
_MOST_LINES = 80
_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONTRACEMALLOC", "JOURNAL_STREAM")
PING_S = 2.0
"""Pause between two pings of a gateway."""


class GatewayProcess:
    """A fresh interpreter that loads the code on disk, is welcomed, serves, and can be killed."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        """Start it, to serve these two sockets. Raises :class:`StartFailed`, OSError.

        It drops root itself, once it has imported its code, which only root may be able to read.
        """
        ours, theirs = wire.pair()
        self._stacks, written = os.pipe()
        os.set_blocking(self._stacks, False)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        fds = {0: null, 1: 1, 2: 2, WIRE_FD: theirs.fileno(), EVIDENCE_FD: written}
        served = [listener.fileno() for listener in listeners]
        fds |= dict(zip((CONTROL_FD, DEVTOOLS_FD), served, strict=True))
        argv = [sys.executable, "-P", "-m", "chromepool.gateway"]
        env = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        try:
            self.pid = spawn(Plan(argv, env, fds), lambda pid: None)
        except BaseException:
            ours.close()
            os.close(self._stacks)
            raise
        finally:
            theirs.close()
            os.close(written)
            os.close(null)
        self.channel = Channel(ours)
        now = time.monotonic()
        self.started_at = now
        self.last_message_at = now
        self.pinged_at = now
        self._checked_at = now
        self.loaded = False
        self.ready = False
        self.leaving = False
        self.stacks_requested = False
        self.kill_at: float | None = None
        """Time of its SIGKILL: set once it hangs, or was asked to leave."""

    @property
    def connected(self) -> bool:
        """True if its wire is open."""
        return self.channel.sock.fileno() >= 0

    def silent_s(self, now: float) -> float:
        """Return for how long it was silent while the supervisor itself was not held up."""
        if now - self._checked_at > 2 * PING_S:
            self.last_message_at = now
        self._checked_at = now
        return now - self.last_message_at

    def request_stacks(self) -> None:
        """Have it write where it hangs; :meth:`evidence` reads that a little later."""
        self.stacks_requested = True
        os.kill(self.pid, EVIDENCE_SIGNAL)

    def evidence(self) -> list[str]:
        """Return what shows why it hangs: its state, and the stack of each thread."""
        found = [f"its main process is in state {process_state(self.pid) or 'gone'}"]
        try:
            stacks = os.read(self._stacks, _STACKS_BYTES).decode(errors="replace")
        except BlockingIOError:
            stacks = "it wrote no stacks"
        return (found + stacks.splitlines())[:_MOST_LINES]

    def kill(self) -> None:
        """Send SIGKILL. It is not reaped yet, so the pid is still its own."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the descriptors of a dead one."""
        self.channel.close()
        os.close(self._stacks)
