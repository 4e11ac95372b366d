"""The supervisor's loop: signals, the wire, dead children, deadlines. One thread, no asyncio."""

from __future__ import annotations

import dataclasses
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable

from chromepool import wire
from chromepool.config import Settings, merge_live
from chromepool.errors import (
    ChromepoolError,
    InvalidRequest,
    ProfileInUse,
    StartFailed,
    WireError,
)
from chromepool.logs import Log, set_level
from chromepool.model import File, Limits
from chromepool.supervisor import downloads
from chromepool.supervisor.bulletin import Bulletin
from chromepool.supervisor.child import Child, Phase
from chromepool.supervisor.gateway_process import GatewayProcess
from chromepool.supervisor.guardian import Guardian
from chromepool.supervisor.notify import Notifier
from chromepool.supervisor.nursery import Nursery, check_limits
from chromepool.supervisor.reaper import process_state, reap, split_status

log = Log("chromepool.supervisor")

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_IDLE_S = 30.0
_SPARE = 2
"""Chromes beyond ``max_sessions``: the one that ``/json/protocol`` is read from, and one that was
started ahead and is let go as soon as it is ready, since its place was taken meanwhile."""


class Supervisor:
    """Owns every Chrome and the gateway."""

    def __init__(
        self,
        settings: Settings,
        *,
        nursery: Nursery,
        gateway: GatewayProcess,
        guardian: Guardian,
        on_ready: Callable[[], None],
        reload: Callable[[], tuple[Settings, dict[str, str], str]],
        notifier: Notifier,
    ) -> None:
        """``on_ready`` is called each time a gateway has begun to serve; ``reload`` on SIGHUP: the
        settings, tokens and the webhook's secret as they are written now, or a
        :class:`ChromepoolError`."""
        self._settings, self._on_ready, self._reload = settings, on_ready, reload
        self._nursery, self._gateway, self._guardian = nursery, gateway, guardian
        self._notify = Bulletin(notifier)
        self._children: list[Child] = []
        self._by_key: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: socket.socket
        self._stop_at: float | None = None

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and returns when nothing is left."""
        self._listen_to_signals()
        if self._guardian.needed:
            self._guardian.start()
        try:
            while not self._finished():
                self._start_gateway_if_due()
                for key, events in self._selector.select(self._timeout()):
                    key.data(events)
                self._tick()
        finally:
            self._guardian.stop()
            self._selector.close()
            self._signals.close()

    # -- signals: the handler does nothing, the wakeup descriptor queues, the loop acts --

    def _listen_to_signals(self) -> None:
        self._signals, wakeup = socket.socketpair()
        self._signals.setblocking(False)
        wakeup.setblocking(False)
        self._wakeup = wakeup
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)

    def _on_signals(self, _: int) -> None:
        for number in self._signals.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._on_stop_signal()
            elif number == signal.SIGHUP:
                self._on_reload()

    def _on_reload(self) -> None:
        self._notify.reloading()
        try:
            self._take_settings()
        finally:
            self._notify.ready()

    def _take_settings(self) -> None:
        try:
            written, tokens, secret = self._reload()
        except ChromepoolError as error:
            log.error("settings.refused", error=error)
            return
        self._settings, fixed = merge_live(self._settings, written)
        self._nursery.settings = self._settings
        self._gateway.configure(self._settings, tokens, secret)
        set_level(self._settings.log_level)
        self._tell(wire.Reload(dataclasses.asdict(self._settings), tokens, secret))
        log.info("settings.reloaded")
        if fixed:
            log.warning("settings.need_restart", settings=fixed)

    def _on_stop_signal(self) -> None:
        if self._stop_at is None:
            log.info("daemon.stopping", within_s=self._settings.shutdown_timeout_s)
            self._stop_at = time.monotonic() + self._settings.shutdown_timeout_s
            self._notify.stopping(len(self._children))
            self._tell(wire.Shutdown(self._settings.shutdown_timeout_s))
        else:
            log.warning("daemon.stopping_at_once")
            self._stop_at = time.monotonic()

    # -- the gateway --

    def _start_gateway_if_due(self) -> None:
        gateway = self._gateway
        if gateway.pid or self._stop_at is not None or time.monotonic() < gateway.start_at:
            return
        try:
            end = gateway.start()
        except (StartFailed, OSError) as error:  # no process, no descriptor: there may be again
            log.error("gateway.not_started", error=error, pause_s=gateway.died())
            return
        self._selector.register(end.sock, selectors.EVENT_READ, self._on_wire)

    def _on_wire(self, events: int) -> None:
        end = self._gateway.wire
        assert end is not None
        try:
            if events & selectors.EVENT_WRITE:
                end.flush()
            if events & selectors.EVENT_READ:
                message = end.receive()
                if message is None:
                    self._drop_gateway("closed its wire")
                else:
                    self._on_message(message)
        except (OSError, WireError) as error:
            self._drop_gateway(str(error))

    def _drop_gateway(self, why: str) -> None:
        """No more words with this gateway; its death is seen by the reaper."""
        wire_end = self._gateway.wire
        if wire_end is None or wire_end.sock.fileno() < 0:
            return
        log.error("gateway.dropped", why=why) if self._stop_at is None else None
        self._selector.unregister(wire_end.sock)
        wire_end.close()
        if self._gateway.pid and self._stop_at is None:
            os.kill(self._gateway.pid, signal.SIGKILL)

    def _tell(self, message: wire.Message, fds: tuple[int, ...] = ()) -> None:
        end = self._gateway.wire
        if end is None or end.sock.fileno() < 0:
            for fd in fds:
                os.close(fd)
            return
        try:
            end.send(message, fds)
        except OSError as error:
            self._drop_gateway(str(error))

    def _on_message(self, message: wire.Message) -> None:
        match message:
            case wire.Ready():
                self._on_ready()
                self._notify.ready()
            case wire.Spawn():
                self._on_spawn(message)
            case wire.Stop(key=key, grace_s=grace_s) if key in self._by_key:
                self._by_key[key].terminate(grace_s)
            case wire.Inspect(key=key) if key in self._by_key:
                child = self._by_key[key]
                state = process_state(child.pid)
                self._tell(wire.Inspected(key, child.leaf.usage(), child.words, state))
            case wire.FileRequest():
                self._on_file_request(message)
            case wire.Freeze(key=key) if key in self._by_key:
                self._by_key[key].freeze()
            case wire.Thaw(key=key, limits=limits) if key in self._by_key:
                self._thaw(self._by_key[key], limits)
            case wire.Stop() | wire.Inspect() | wire.Freeze() | wire.Thaw():
                pass  # it died while the message was under way; Exited tells
            case _:
                raise WireError(f"the gateway does not send {type(message).__name__}.")

    def _on_file_request(self, request: wire.FileRequest) -> None:
        fds: tuple[int, ...] = ()
        files: tuple[File, ...] = ()
        try:
            if request.key not in self._by_key:
                raise FileNotFoundError(request.name)
            child = self._by_key[request.key]
            if request.verb == "list":
                files = downloads.list_files(child.profile, child.uid)
            elif request.verb == "open":
                fds = (downloads.open_file(child.profile, child.uid, request.name),)
            else:
                downloads.remove_file(child.profile, request.name)
        except OSError as error:
            said = error.strerror or "no such file"
            self._tell(wire.FileAnswer(request.number, error=said))
            return
        self._tell(wire.FileAnswer(request.number, files), fds)

    def _thaw(self, child: Child, limits: Limits) -> None:
        """A session that waited goes to its owner, with limits that may be lower."""
        try:
            check_limits(limits, self._settings)
            child.thaw(limits)
        except (OSError, StartFailed) as error:
            log.error("session.limits_refused", session=child.key, error=error)
            child.kill()

    def _on_gateway_death(self, status: int) -> None:
        code, name = split_status(status)
        if self._gateway.wire is not None:
            self._drop_gateway("is gone")
        pause = self._gateway.died()
        for child in self._children:
            child.kill()
        self._by_key.clear()
        if self._stop_at is None:
            log.error("gateway.died", code=code, signal=name, pause_s=pause)

    # -- children --

    def _on_spawn(self, message: wire.Spawn) -> None:
        child = None
        try:
            if message.key in self._by_key:
                raise StartFailed(f"session {message.key} exists.")
            if len(self._children) >= self._settings.max_sessions + _SPARE:
                raise StartFailed("every place of the pool is taken.")
            child = self._nursery.prepare(message.key, message.limits, message.launch)
            self._children.append(child)
            fds = self._nursery.launch(child, message.launch, protocol_port=message.protocol_port)
        except (StartFailed, ProfileInUse, InvalidRequest) as error:
            if child is not None:
                child.abandon()
            self._tell(wire.SpawnFailed(message.key, error.detail, error.remedy, error.code))
            return
        self._by_key[message.key] = child
        self._selector.register(child.stderr, selectors.EVENT_READ, lambda _: self._listen(child))
        self._tell(wire.Spawned(message.key, child.pid, str(child.profile)), fds)

    def _listen(self, child: Child) -> None:
        if not child.listen():
            self._selector.unregister(child.stderr)
            os.close(child.stderr)
            child.stderr = -1

    def _reap(self) -> None:
        for pid, status in reap():
            if pid == self._gateway.pid:
                self._on_gateway_death(status)
                continue
            if pid == self._guardian.pid:
                log.error("guardian.died")
                self._guardian.start()
                continue
            for child in self._children:
                if child.remover == pid:
                    child.cleared()
                elif child.pid == pid and child.exit is None:
                    exit = child.died(status)
                    if self._by_key.get(child.key) is child:  # not of a gateway before this one
                        self._tell(wire.Exited(child.key, exit))

    def _tick(self) -> None:
        self._reap()
        now = time.monotonic()
        if self._stop_at is not None and now >= self._stop_at:
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
            gateway=bool(self._gateway.pid),
        )

    def _forget(self, child: Child) -> None:
        self._children.remove(child)
        self._nursery.free(child)
        if self._by_key.get(child.key) is child:
            del self._by_key[child.key]
            self._tell(wire.Gone(child.key, child.usage))

    def _kill_everything(self) -> None:
        if self._gateway.pid:
            os.kill(self._gateway.pid, signal.SIGKILL)
        for child in self._children:
            if child.phase in (Phase.RUNNING, Phase.TERMINATING):
                child.kill()

    def _finished(self) -> bool:
        return self._stop_at is not None and not self._gateway.pid and not self._children

    def _timeout(self) -> float:
        """Seconds until something is due."""
        end = self._gateway.wire
        if end is not None and end.sock.fileno() >= 0:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if end.lagging else 0)
            self._selector.modify(end.sock, events, self._on_wire)
        due = [
            child.deadline
            for child in self._children
            if child.phase is not Phase.RUNNING and not child.remover
        ]
        due.append(self._notify.due)
        if self._stop_at is not None:
            due.append(self._stop_at)
        elif not self._gateway.pid:
            due.append(self._gateway.start_at)
        now = time.monotonic()
        return min([_IDLE_S, *(max(0.0, at - now) for at in due)])
