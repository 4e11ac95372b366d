"""The supervisor's loop: signals, the wire, dead children and deadlines, in one thread."""

import dataclasses
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence

from chromepool import wire
from chromepool.channel import Packet
from chromepool.config import Settings, merge_live
from chromepool.errors import ChromepoolError
from chromepool.logs import Log, set_level
from chromepool.model import Host
from chromepool.supervisor.chrome.chromes import Chromes
from chromepool.supervisor.chrome.launcher import ChromeLauncher
from chromepool.supervisor.configuration import Configuration
from chromepool.supervisor.gateway.lifecycle import Gateways
from chromepool.supervisor.linux.cgroup.tree import Tree
from chromepool.supervisor.linux.reaper import reap
from chromepool.supervisor.linux.signals import Signals
from chromepool.supervisor.locks import lock_path
from chromepool.supervisor.shutdown import ShutdownDeadline
from chromepool.supervisor.status import ServiceStatus
from chromepool.supervisor.systemd.fd_store import FdStore, StoredSession
from chromepool.supervisor.systemd.guardian import Guardian
from chromepool.supervisor.systemd.jobs import own_unit, pending_job
from chromepool.supervisor.systemd.notify import Notifier

log = Log("chromepool.supervisor")

_IDLE_S = 30.0
"""Longest wait where nothing is due."""
_PATIENCE_S = 60.0
"""Time that sessions wait for the next daemon: an upgrade or systemd's pauses are shorter."""


class Supervisor:
    """The owner of every Chrome: runs, reloads and stops the daemon, and has a gateway serve."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        reload: Callable[[], Configuration],
        host: Host,
        tree: Tree,
        listeners: tuple[socket.socket, socket.socket],
        notifier: Notifier,
        fd_store: FdStore,
    ) -> None:
        """Prepare to run. ``reload`` returns what is configured now, or raises ChromepoolError."""
        self._configuration = configuration
        self._pending: Configuration | None = None
        """Configuration that the next gateway gets, once it has loaded."""
        self._devtools = listeners[1]  # the first is the control API's
        self._reload = reload
        self._launcher = ChromeLauncher(self._settings, host, tree, outlives_us=fd_store.enabled)
        patience_s = _PATIENCE_S if fd_store.enabled else 0.0
        self._guardian = Guardian(tree, lock_path(self._settings.state_dir), patience_s)
        self._fd_store = fd_store
        self._status = ServiceStatus(notifier)
        self._drain: wire.Drain | None = None
        self._selector = selectors.DefaultSelector()
        self._gateways = Gateways(
            listeners,
            self._selector,
            silence_s=lambda: self._settings.heartbeat_timeout_s,
            welcome=self._welcome,
            on_message=self._on_message,
            on_ready=self._on_gateway_ready,
            on_exit=self._on_gateway_exit,
            on_replacement_failed=self._on_replacement_failed,
        )
        self._chromes = Chromes(self._launcher, fd_store, self._selector, self._gateways)
        self._shutdown = ShutdownDeadline()
        self.sessions_stay = False
        """True if the daemon exits and its sessions continue, for the daemon that follows."""

    @property
    def _settings(self) -> Settings:
        return self._configuration.settings

    def run(self, stored_sessions: Sequence[StoredSession]) -> None:
        """Continue these sessions, serve until SIGTERM or SIGINT, and return when all is done."""
        for stored in stored_sessions:
            self._chromes.restore(stored)
        # A signal only wakes select() below, which then calls _on_signal.
        signals = Signals(self._selector, self._on_signal)
        # From here on a supervisor that is killed leaves no frozen Chrome behind.
        if self._guardian.needed:
            self._guardian.start()
        try:
            while not self._finished():
                # A gateway serves. One that died is followed by another, after a pause.
                self._gateways.start_if_due()
                # Wait for a signal, the wire, Chrome's stderr or the next deadline, and react.
                self._gateways.watch_writability()
                for key, events in self._selector.select(self._timeout()):
                    key.data(events)
                # SIGCHLD is consumed here: whatever has died is reaped, at every turn.
                self._reap()
                # Move on what is due: pings, kills, removals, retries, the status.
                self._tick(time.monotonic())
        finally:
            self._guardian.stop()
            self._selector.close()
            signals.close()

    def _finished(self) -> bool:
        sessions = [] if self.sessions_stay else [child.name for child in self._chromes.all]
        return self._shutdown.finished(sessions, self._gateways.pids)

    def _timeout(self) -> float:
        """Return the seconds until something is due."""
        now = time.monotonic()
        due = [self._gateways.due(now), self._status.due, self._fd_store.due]
        due += self._chromes.due() + self._shutdown.due(now)
        return min([_IDLE_S, *(max(0.0, at - now) for at in due)])

    def _reap(self) -> None:
        for pid, status in reap():
            if not self._gateways.reaped(pid, status) and not self._guardian.reaped(pid):
                self._chromes.reaped(pid, status)

    def _tick(self, now: float) -> None:
        self._gateways.tick(now)
        self._guardian.start_if_due(now)
        self._fd_store.tick(now)
        if self._shutdown.expired:
            self._gateways.kill()
            if not self.sessions_stay:
                self._chromes.kill_all()
        if self._chromes.tick(now):
            self._reap()  # what left a group since the last time may be a zombie still
            self._chromes.remove_gone()
        serving = self._gateways.current is not None
        self._status.tick(now, len(self._chromes.all), self._settings.max_sessions, gateway=serving)

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._on_stop_signal()
        elif number == signal.SIGHUP:
            self._on_reload()

    def _on_stop_signal(self) -> None:
        if self._shutdown.begun:
            log.warning("shutdown.hastened")
            self._shutdown.begin(0.0)
            return
        timeout_s = self._settings.shutdown_timeout_s
        log.info("shutdown.requested", within_s=timeout_s)
        self._shutdown.begin(timeout_s)
        self._status.stopping(len(self._chromes.all))
        self._gateways.stop()
        self.sessions_stay = self._fd_store.enabled and pending_job(own_unit()) == "restart"
        if self.sessions_stay:
            log.info("sessions.stored", sessions=len(self._chromes.by_key))
            self._gateways.leave()
        elif not self._gateways.send(wire.Shutdown(timeout_s)):
            self._chromes.terminate_all()

    def _on_reload(self) -> str:
        """Start a gateway that takes over, with new code and settings; return why not, or ""."""
        begun = self._status.reloading()
        refused = self._replace_gateway()
        if refused and begun:
            self._status.ready()
        return refused

    def _replace_gateway(self) -> str:
        try:
            pending = self._reload()
        except ChromepoolError as error:
            log.error("settings.refused", error=error)
            return str(error)
        merged, fixed = merge_live(self._settings, pending.settings)
        refused = self._gateways.replace()
        if refused:
            log.error("settings.reload_failed", error=refused)
            return refused
        self._pending = dataclasses.replace(pending, settings=merged)
        if fixed:
            log.warning("settings.restart_needed", settings=fixed)
        return ""

    def _welcome(self) -> list[Packet]:
        """Return the settings, and every session of the gateway before. Raises OSError."""
        if self._pending is not None:
            self._configuration = self._pending
            self._pending = None
            self._launcher.settings = self._settings
            set_level(self._settings.log_level)
            log.info("settings.reloaded")
        self._chromes.kill_unowned()
        adopted = self._chromes.adopt_messages()
        welcome = wire.Welcome(
            self._settings.values(),
            self._launcher.host,
            self._configuration.tokens,
            self._configuration.webhook_secret,
            restarts=self._gateways.starts - 1,
            deaths=self._gateways.deaths,
            failures=self._gateways.failures,
            adopting=len(adopted),
            next_key=self._chromes.last_key + 1,
            drain=self._drain,
        )
        return [(welcome, ()), *adopted, *self._chromes.missed_events()]

    def _on_message(self, message: wire.Message, fds: list[int]) -> None:
        """Do what the gateway asks for; raises :class:`WireError`."""
        match message:
            case wire.Drain():
                self._drain = message if message.on else None
            case wire.Leave():
                if not self._shutdown.begun:
                    self._on_stop_signal()
            case wire.Reload():
                self._gateways.send(wire.Reloading(self._on_reload()))
            case _:
                self._chromes.on_message(message, fds)

    def _on_gateway_ready(self) -> None:
        """Print the line that people and scripts wait for: to stdout, apart from the log."""
        host, port = self._devtools.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        control = self._settings.control_socket
        print(f"chromepool is ready: ws://{shown}:{port}/ (control: {control})", flush=True)
        self._status.ready()

    def _on_gateway_exit(self) -> None:
        """Keep the sessions for the next gateway, unless the daemon stops."""
        self._chromes.kill_unowned()
        if self._shutdown.begun and not self.sessions_stay:
            self._chromes.terminate_all()

    def _on_replacement_failed(self) -> None:
        """Keep the settings as they were."""
        self._pending = None
        self._status.ready()
