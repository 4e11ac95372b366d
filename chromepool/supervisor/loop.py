"""The supervisor's loop: signals, the wire, dead children, deadlines. One thread, no asyncio."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence

from chromepool import wire
from chromepool.config import Settings, merge_live
from chromepool.errors import ChromepoolError, InvalidRequest, ProfileInUse, StartFailed, WireError
from chromepool.logs import Log, set_level
from chromepool.model import Host, Limits
from chromepool.supervisor.chrome import downloads
from chromepool.supervisor.chrome.launcher import ChromeLauncher, check_limits
from chromepool.supervisor.chrome.process import ChromeProcess, Phase
from chromepool.supervisor.gateway.handover import introduce_all, told_late
from chromepool.supervisor.gateway.lifecycle import Gateways, Packet
from chromepool.supervisor.linux.reaper import process_state, reap
from chromepool.supervisor.linux.signals import Signals
from chromepool.supervisor.shutdown import ShutdownDeadline
from chromepool.supervisor.status import ServiceStatus
from chromepool.supervisor.systemd.fd_store import FdStore, StoredSession
from chromepool.supervisor.systemd.guardian import Guardian
from chromepool.supervisor.systemd.notify import Notifier

log = Log("chromepool.supervisor")

_IDLE_S = 30.0
_SPARE = 2
"""Chromes beyond ``max_sessions``: the one that ``/json/protocol`` is read from, and one that was
started ahead and is let go as soon as it is ready, since its place was taken meanwhile."""
Written = tuple[Settings, dict[str, str], str]
"""Settings, tokens by name (digests) and the webhook's secret, as they are written now."""


class Supervisor:
    """Owns every Chrome, and has a gateway serve them."""

    def __init__(
        self,
        written: Written,
        *,
        host: Host,
        launcher: ChromeLauncher,
        listeners: Sequence[socket.socket],
        guardian: Guardian,
        on_ready: Callable[[], None],
        reload: Callable[[], Written],
        notifier: Notifier,
        fd_store: FdStore,
        stays: Callable[[], bool],
    ) -> None:
        """``on_ready`` is called each time a gateway has begun to serve; ``reload`` gives what is
        written now, or raises a :class:`ChromepoolError`; ``stays`` tells at the end whether
        sessions are to go on, since another daemon follows."""
        self._written, self._host = written, host
        self._coming: Written | None = None
        """What the next gateway gets, if it loads."""
        self._announce, self._reload = on_ready, reload
        self._launcher, self._guardian = launcher, guardian
        self._fd_store, self._stays = fd_store, stays
        self._notify = ServiceStatus(notifier)
        self._children: list[ChromeProcess] = []
        self._by_key: dict[int, ChromeProcess] = {}
        """Those that the gateway knows of, or the next one is to be told of."""
        self._last_key = 0
        self._drain: wire.Drain | None = None
        self._selector = selectors.DefaultSelector()
        self._gateways = Gateways(
            listeners, self._selector, self, lambda: self._settings.heartbeat_timeout_s
        )
        self._ending = ShutdownDeadline()
        self.leaving = False
        """Whether the daemon ends and its sessions do not."""

    @property
    def _settings(self) -> Settings:
        return self._written[0]

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and returns when nothing is left."""
        signals = Signals(self._selector, self._on_signal)
        if self._guardian.needed:
            self._guardian.start()
        try:
            while not self._finished():
                self._gateways.start_if_due()
                for key, events in self._selector.select(self._timeout()):
                    key.data(events)
                self._tick()
        finally:
            self._guardian.stop()
            self._selector.close()
            signals.close()

    def take_back(self, stored: StoredSession) -> None:
        """A session of an earlier life goes on; to be called before :meth:`run`."""
        try:
            child = self._launcher.take_back(stored)
        except OSError as error:  # its control group is gone: without its pipe its Chrome ends
            log.error("session.not_taken_back", session=stored.meta.key, error=error)
            self._fd_store.drop(stored)
            return
        self._fd_store.adopt(stored)
        self._children.append(child)
        self._by_key[child.key] = child
        self._last_key = max(self._last_key, child.key)
        self._listen_to(child)
        self._selector.register(
            child.process, selectors.EVENT_READ, lambda _: self._on_foreign_death(child)
        )

    def _listen_to(self, child: ChromeProcess) -> None:
        self._selector.register(child.stderr, selectors.EVENT_READ, lambda _: self._listen(child))

    def _on_foreign_death(self, child: ChromeProcess) -> None:
        """Whoever is its parent reaps it; how it ended is theirs to know."""
        self._selector.unregister(child.process)
        if child.exit is None:
            self._gateways.tell(wire.Exited(child.key, child.died(None)))

    # -- what the operator wants --

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._on_stop_signal()
        elif number == signal.SIGHUP:
            self._on_reload()

    def _on_reload(self) -> str:
        """Reads the settings again and has a new gateway, with new code, take over with them; why
        that cannot be, or ""."""
        begun = self._notify.reloading()
        refused = self._replace_gateway()
        if refused and begun:
            self._notify.ready()
        return refused

    def _replace_gateway(self) -> str:
        try:
            settings, tokens, secret = self._reload()
        except ChromepoolError as error:
            log.error("settings.refused", error=error)
            return str(error)
        merged, fixed = merge_live(self._settings, settings)
        refused = self._gateways.replace()
        if refused:
            log.error("settings.not_taken", error=refused)
            return refused
        self._coming = merged, tokens, secret
        if fixed:
            log.warning("settings.need_restart", settings=fixed)
        return ""

    def _on_stop_signal(self) -> None:
        if self._ending.begun:
            log.warning("daemon.stopping_at_once")
            self._ending.begin(0.0)
            return
        log.info("daemon.stopping", within_s=self._settings.shutdown_timeout_s)
        self._ending.begin(self._settings.shutdown_timeout_s)
        self._notify.stopping(len(self._children))
        self._gateways.stop()
        self.leaving = self._stays()
        if self.leaving:
            log.info("daemon.leaving_sessions", sessions=len(self._by_key))
            self._gateways.leave()
        elif not self._gateways.tell(wire.Shutdown(self._settings.shutdown_timeout_s)):
            self._terminate_all()

    def _terminate_all(self) -> None:
        """There is no gateway that would end them politely."""
        for child in self._children:
            child.terminate(self._settings.term_timeout_s)

    # -- the gateway's: implements gateways.Owner --

    def welcome(self) -> list[Packet]:
        """The settings, and every session of the gateway before."""
        if self._coming is not None:
            self._written, self._coming = self._coming, None
            self._launcher.settings = self._settings
            set_level(self._settings.log_level)
            log.info("settings.reloaded")
        adopted, nobodys = introduce_all(list(self._by_key.values()))
        for child in nobodys:
            self._disown(child)
        news = [parcel for child in self._by_key.values() for parcel in told_late(child)]
        settings, tokens, secret = self._written
        hello = wire.Welcome(
            settings.values(),
            self._host,
            tokens,
            secret,
            restarts=self._gateways.starts - 1,
            deaths=self._gateways.deaths,
            failures=self._gateways.failures,
            adopting=len(adopted),
            next_key=self._last_key + 1,
            drain=self._drain,
        )
        return [(hello, ()), *adopted, *news]

    def _disown(self, child: ChromeProcess) -> None:
        child.kill()
        self._let_go(child)

    def _let_go(self, child: ChromeProcess) -> None:
        """The gateway is told nothing more of it."""
        del self._by_key[child.key]
        child.let_go()

    def on_ready(self) -> None:
        """It serves: people, and systemd, are told."""
        self._announce()
        self._notify.ready()

    def on_death(self) -> None:
        """The sessions stay; those that never were anybody's go."""
        for child in list(self._by_key.values()):
            if not child.known:
                self._disown(child)
        if self._ending.begun and not self.leaving:
            self._terminate_all()

    def on_refused(self) -> None:
        """The settings stay as they were."""
        self._coming = None
        self._notify.ready()

    def on_message(self, message: wire.Message, fds: list[int]) -> None:
        """What the gateway wants; raises :class:`WireError`."""
        match message:
            case wire.Spawn():
                self._on_spawn(message)
            case wire.Remember(key=key):
                self._on_remember(key, fds)
            case wire.FileRequest():
                self._gateways.tell(*downloads.answer(message, self._by_key.get(message.key)))
            case wire.Drain():
                self._drain = message if message.on else None
            case wire.Leave():
                if not self._ending.begun:
                    self._on_stop_signal()
            case wire.Reload():
                self._gateways.tell(wire.Reloading(self._on_reload()))
            case wire.Stop() | wire.Inspect() | wire.Freeze() | wire.Thaw() | wire.Buried():
                child = self._by_key.get(message.key)
                if child is not None:
                    self._on_wish(child, message)
            case _:
                raise WireError(f"the gateway does not send {type(message).__name__}.")

    def _on_wish(self, child: ChromeProcess, message: wire.Message) -> None:
        if child.phase is Phase.GONE:  # it went while the message was under way; Gone tells
            if isinstance(message, wire.Buried):
                self._let_go(child)
            return
        match message:
            case wire.Stop(grace_s=grace_s):
                child.terminate(grace_s)
            case wire.Inspect(key=key):
                state = process_state(child.pid)
                self._gateways.tell(wire.Inspected(key, child.leaf.usage(), child.words, state))
            case wire.Freeze():
                child.freeze()
            case wire.Thaw(limits=limits):
                self._thaw(child, limits)

    def _on_remember(self, key: int, fds: list[int]) -> None:
        if len(fds) != 1 or not wire.is_sealed(fds[0]):
            raise WireError("what is to be remembered comes in one sealed file.")
        child = self._by_key.get(key)
        if child is not None:
            child.remember(fds.pop())
            if child.phase is not Phase.GONE:  # or nobody would take it out again
                self._fd_store.keep(child)

    def _thaw(self, child: ChromeProcess, limits: Limits) -> None:
        """A session that waited goes to its owner, with limits that may be lower."""
        try:
            check_limits(limits, self._settings)
            child.thaw(limits)
            if child.known:
                self._fd_store.keep_ledger(child)
        except (OSError, StartFailed) as error:
            log.error("session.limits_refused", session=child.key, error=error)
            child.kill()

    # -- children --

    def _on_spawn(self, message: wire.Spawn) -> None:
        child = None
        try:
            if message.key <= self._last_key:
                raise StartFailed(f"session {message.key} exists, or existed.")
            if len(self._children) >= self._settings.max_sessions + _SPARE:
                raise StartFailed("every place of the pool is taken.")
            self._last_key = message.key
            child = self._launcher.prepare(message.key, message.limits, message.launch)
            self._children.append(child)
            fds = self._launcher.launch(child, message.launch, protocol_port=message.protocol_port)
        except (StartFailed, ProfileInUse, InvalidRequest) as error:
            if child is not None:
                child.abandon()
            self._gateways.tell(
                wire.SpawnFailed(message.key, error.detail, error.remedy, error.code)
            )
            return
        self._by_key[message.key] = child
        self._listen_to(child)
        self._gateways.tell(wire.Spawned(message.key, child.pid, str(child.profile)), fds)

    def _listen(self, child: ChromeProcess) -> None:
        if not child.listen():
            self._selector.unregister(child.stderr)
            os.close(child.stderr)
            child.stderr = -1

    def _reap(self) -> None:
        for pid, status in reap():
            if self._gateways.reaped(pid, status) or self._guardian.reaped(pid):
                continue
            for child in self._children:
                if child.remover == pid:
                    child.cleared()
                elif child.pid == pid and child.exit is None:
                    exit = child.died(status)
                    if self._by_key.get(child.key) is child:  # not of a gateway before this one
                        self._gateways.tell(wire.Exited(child.key, exit))

    def _tick(self) -> None:
        self._reap()
        now = time.monotonic()
        self._gateways.tick(now)
        self._guardian.start_if_due(now)
        self._fd_store.tick(now)
        if self._ending.late:
            self._kill_everything()
        for child in list(self._children):
            stderr = child.stderr
            child.tick(now)
            if child.stderr != stderr and stderr in self._selector.get_map():
                self._selector.unregister(stderr)  # closed, and the next pipe may get its number
            if child.phase is Phase.GONE:
                self._reap()  # what left its group since the last time may be a zombie still
                self._forget(child)
        self._notify.tick(
            now,
            sessions=len(self._children),
            places=self._settings.max_sessions,
            gateway=self._gateways.current is not None,
        )

    def _forget(self, child: ChromeProcess) -> None:
        self._children.remove(child)
        self._launcher.free(child)
        self._fd_store.forget(child)
        if self._by_key.get(child.key) is not child:
            child.let_go()
        else:  # a gateway that is told may die before it has taken notice: Buried ends it
            self._gateways.tell(wire.Gone(child.key, child.usage))
            if not child.known:  # it was nobody's: no other gateway need be told
                self._let_go(child)

    def _kill_everything(self) -> None:
        self._gateways.kill()
        for child in self._children if not self.leaving else ():
            if child.phase in (Phase.RUNNING, Phase.TERMINATING):
                child.kill()

    def _finished(self) -> bool:
        left = [child.name for child in self._children if not self.leaving]
        return self._ending.over(left, self._gateways.pids)

    def _timeout(self) -> float:
        """Seconds until something is due."""
        self._gateways.listen()
        now = time.monotonic()
        due = [
            child.deadline
            for child in self._children
            if child.phase is not Phase.RUNNING and not child.remover
        ]
        due.append(self._gateways.due(now))
        due += [self._notify.due, self._fd_store.due, *self._ending.due(now)]
        return min([_IDLE_S, *(max(0.0, at - now) for at in due)])
