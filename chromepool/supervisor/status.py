"""The state that the service manager shows: status line, readiness, and a quiet watchdog."""

import math
import time

from chromepool.logs import Log
from chromepool.supervisor.systemd.notify import Notifier

log = Log("chromepool.supervisor")

_PINGS = 2
"""Pings in each of the watchdog's intervals, as sd_watchdog_enabled(3) recommends."""
_RETRY_S = 0.5
"""Pause before READY=1 is sent again to a manager that lags, and would wait for it in vain."""


class ServiceStatus:
    """The daemon's status, which the loop updates at every turn and systemd is notified of."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._pause_s = notifier.watchdog_s / _PINGS
        self._ping_at = time.monotonic() if self._pause_s else math.inf
        self._ready_at = math.inf
        self._phase = "starting"
        self._sessions_at_stop = 0
        self._sessions_left = 0

    @property
    def due(self) -> float:
        """Latest time of the next :meth:`tick` (monotonic)."""
        return min(self._ping_at, self._ready_at)

    def ready(self) -> None:
        """Note that a gateway serves, so that the start, or a reload, is complete."""
        if self._phase == "stopping":
            return
        self._phase = "serving"
        lost = not self._notifier.ready() and self._notifier.connected
        self._ready_at = time.monotonic() + _RETRY_S if lost else math.inf

    def reloading(self) -> bool:
        """Note that a reload begins; return False during the start, a stop, or another reload."""
        if self._phase != "serving":
            return False
        self._phase = "reloading"
        self._ready_at = math.inf
        self._notifier.reloading()
        return True

    def stopping(self, sessions: int) -> None:
        """Note that the daemon stops, with this many sessions left."""
        self._phase = "stopping"
        self._ready_at = math.inf
        self._sessions_at_stop = sessions
        self._sessions_left = sessions
        self._notifier.stopping()
        self._report_left()

    def tick(self, now: float, sessions: int, slots: int, *, gateway: bool) -> None:
        """Report what has changed, and to the watchdog that the loop turns."""
        if now >= self._ping_at:
            self._ping_at = now + self._pause_s
            self._notifier.ping()
        if now >= self._ready_at:
            self.ready()
        if self._phase != "stopping":
            phase = self._phase if gateway or self._phase == "starting" else "no gateway"
            self._notifier.status(f"{phase}: {sessions} Chromes, room for {slots} sessions")
        elif sessions != self._sessions_left:
            self._sessions_left = sessions
            log.info("shutdown.progressed", left=sessions, of=self._sessions_at_stop)
            self._report_left()

    def _report_left(self) -> None:
        left, before = self._sessions_left, self._sessions_at_stop
        self._notifier.status(f"stopping: {left} of {before} sessions left")
