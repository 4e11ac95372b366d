"""What the manager and the log are told of how the daemon does."""

from __future__ import annotations

import math
import time

from chromepool.logs import Log
from chromepool.supervisor.systemd.notify import Notifier

log = Log("chromepool.supervisor")

_PINGS = 2
"""How often the watchdog is told in each of its intervals."""


class ServiceStatus:
    """Keeps the status line true and the watchdog quiet; the loop calls it whenever it turns."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._pause_s = notifier.watchdog_s / _PINGS
        self.due = time.monotonic() if self._pause_s else math.inf
        """When :meth:`tick` wants to be called next (monotonic)."""
        self._doing = "starting"
        self._most = 0
        """Sessions there were when the end began."""
        self._left = 0

    def ready(self) -> None:
        """A gateway serves: the start, or a reload, is complete. Says nothing during the end."""
        if self._doing == "stopping":
            return
        self._doing = "serving"
        self._notifier.ready()

    def reloading(self) -> bool:
        """A reload begins; :meth:`ready` ends it. False during the start, the end, or another."""
        if self._doing != "serving":
            return False
        self._doing = "reloading"
        self._notifier.reloading()
        return True

    def stopping(self, sessions: int) -> None:
        """The end begins, with so many sessions left."""
        self._doing, self._most, self._left = "stopping", sessions, sessions
        self._notifier.stopping()
        self._notifier.status(f"stopping: {sessions} of {sessions} sessions left")

    def tick(self, now: float, *, sessions: int, places: int, gateway: bool) -> None:
        """Says what has changed, and that the loop turns."""
        if now >= self.due:
            self.due = now + self._pause_s
            self._notifier.ping()
        if self._doing == "stopping":
            self._tell_progress(sessions)
            return
        doing = self._doing if gateway or self._doing == "starting" else "no gateway"
        self._notifier.status(f"{doing}: {sessions} Chromes, room for {places} sessions")

    def _tell_progress(self, left: int) -> None:
        if left == self._left:
            return
        self._left = left
        self._notifier.status(f"stopping: {left} of {self._most} sessions left")
        log.info("daemon.progress", left=left, of=self._most)
