"""Every Chrome of the daemon, by its session's key, and what the gateway asks for with each."""

import contextlib
import os
import selectors
from collections.abc import Callable

from chromepool import wire
from chromepool.channel import Packet
from chromepool.errors import InvalidRequest, ProfileInUse, StartFailed, WireError
from chromepool.logs import Log
from chromepool.model import Limits
from chromepool.supervisor.chrome import downloads
from chromepool.supervisor.chrome.launcher import ChromeLauncher, check_limits
from chromepool.supervisor.chrome.process import ChromeProcess, Phase
from chromepool.supervisor.gateway.lifecycle import Gateways
from chromepool.supervisor.linux.reaper import process_state
from chromepool.supervisor.systemd.fd_store import FdStore, StoredSession

log = Log("chromepool.supervisor")

_SPARE = 2
"""Chromes beyond ``max_sessions``: the one that ``/json/protocol`` is read from, and a warm one
whose slot was taken while it started, so that it ends once it is ready."""


class Chromes:
    """The table of all Chromes: restores, starts and ends them, and reports to the gateway."""

    def __init__(
        self,
        launcher: ChromeLauncher,
        fd_store: FdStore,
        selector: selectors.BaseSelector,
        gateways: Gateways,
    ) -> None:
        self._launcher = launcher
        self._fd_store = fd_store
        self._selector = selector
        self._gateways = gateways
        self.all: list[ChromeProcess] = []
        """Chromes that are not gone yet."""
        self.by_key: dict[int, ChromeProcess] = {}
        """Chromes that the gateway knows, or that the next one will adopt."""
        self.last_key = 0

    def restore(self, stored: StoredSession) -> None:
        """Continue a session of an earlier daemon."""
        try:
            child = self._launcher.restore(stored)
        except OSError as error:  # its control group is gone: without its pipe its Chrome exits
            log.error("session.restore_failed", session=stored.meta.key, error=error)
            self._fd_store.drop(stored)
            return
        self._fd_store.restore(stored)
        self.all.append(child)
        self._enter(child)
        self.last_key = max(self.last_key, child.key)
        self._watch(child.pidfd, lambda _: self._on_restored_exit(child))

    def _enter(self, child: ChromeProcess) -> None:
        self.by_key[child.key] = child
        self._watch(child.stderr, lambda _: self._read_stderr(child))

    def _watch(self, fd: int, on_readable: Callable[[int], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, on_readable)

    def _read_stderr(self, child: ChromeProcess) -> None:
        if not child.read_stderr():
            self._selector.unregister(child.stderr)
            os.close(child.stderr)
            child.stderr = -1

    def _spawn(self, message: wire.Spawn) -> None:
        child = None
        try:
            if message.key <= self.last_key:
                raise StartFailed(f"Session {message.key} was started already.")
            if len(self.all) >= self._launcher.settings.max_sessions + _SPARE:
                raise StartFailed("Every slot is taken.", remedy="End a session, or try again.")
            self.last_key = message.key
            child = self._launcher.prepare(message.key, message.limits, message.launch)
            self.all.append(child)
            fds = self._launcher.launch(child, message.launch, protocol_port=message.protocol_port)
        except (StartFailed, ProfileInUse, InvalidRequest) as error:
            if child is not None:
                child.abandon()
            failed = wire.SpawnFailed(message.key, error.detail, error.remedy, error.code)
            self._gateways.send(failed)
            return
        self._enter(child)
        self._gateways.send(wire.Spawned(message.key, child.pid, str(child.profile)), fds)

    def on_message(self, message: wire.Message, fds: list[int]) -> None:
        """Do what the gateway asks for; raises :class:`WireError`."""
        match message:
            case wire.Spawn():
                self._spawn(message)
            case wire.Remember(key=key):
                self._remember(key, fds)
            case wire.FileRequest():
                self._gateways.send(*downloads.answer(message, self.by_key.get(message.key)))
            case wire.Stop() | wire.Inspect() | wire.Freeze() | wire.Thaw() | wire.Buried():
                child = self.by_key.get(message.key)
                if child is not None:
                    self._on_session_message(child, message)
            case _:
                raise WireError(f"A gateway must not send {type(message).__name__}.")

    def _on_session_message(self, child: ChromeProcess, message: wire.Message) -> None:
        if child.phase is Phase.GONE:  # its Gone and this message have crossed
            if isinstance(message, wire.Buried):
                self._forget(child)
            return
        match message:
            case wire.Stop(grace_s=grace_s):
                child.terminate(grace_s)
            case wire.Inspect(key=key):
                usage, state = child.leaf.usage(), process_state(child.pid)
                self._gateways.send(wire.Inspected(key, usage, child.stderr_tail, state))
            case wire.Freeze():
                child.freeze()
            case wire.Thaw(limits=limits):
                self._thaw(child, limits)

    def _remember(self, key: int, fds: list[int]) -> None:
        if len(fds) != 1 or not wire.is_sealed(fds[0]):
            raise WireError("A snapshot must come as one sealed file.")
        child = self.by_key.get(key)
        if child is not None:
            child.keep_snapshot(fds.pop())
            if child.phase is not Phase.GONE:  # or nothing would take it out of the store again
                self._fd_store.put(child)

    def _thaw(self, child: ChromeProcess, limits: Limits) -> None:
        """Wake a warm Chrome for its owner, whose limits may be lower."""
        try:
            check_limits(limits, self._launcher.settings)
            child.thaw(limits)
            if child.has_snapshot:
                self._fd_store.put_meta(child)
        except (OSError, StartFailed) as error:
            log.error("session.limits_refused", session=child.key, error=error)
            child.kill()

    def adopt_messages(self) -> list[Packet]:
        """Return an :class:`wire.Adopt` for each session, for a new gateway.

        Raises OSError where there are not enough descriptors for all: none is handed out then.
        """
        packets: list[Packet] = []
        with contextlib.ExitStack() as undo:
            for child in self.by_key.values():
                adopt = wire.Adopt(child.key, child.pid, str(child.profile))
                packets.append((adopt, child.duplicate_fds(undo)))
            undo.pop_all()
        return packets

    def missed_events(self) -> list[Packet]:
        """Return what has happened to sessions while no gateway was there to be sent it."""
        missed: list[Packet] = []
        for child in self.by_key.values():
            if child.exit is not None:
                missed.append((wire.Exited(child.key, child.exit), ()))
            if child.phase is Phase.GONE:
                missed.append((wire.Gone(child.key, child.usage), ()))
        return missed

    def kill_unowned(self) -> None:
        """Kill the Chromes that were starting when the gateway died: no request waits for them."""
        for child in list(self.by_key.values()):
            if not child.has_snapshot:
                child.kill()
                self._forget(child)

    def terminate_all(self) -> None:
        """Send SIGTERM to every Chrome, where there is no gateway that would close them first."""
        for child in self.all:
            child.terminate(self._launcher.settings.term_timeout_s)

    def kill_all(self) -> None:
        """Send SIGKILL to every Chrome that has not been sent it yet."""
        for child in self.all:
            if child.phase in (Phase.RUNNING, Phase.TERMINATING):
                child.kill()

    def _on_restored_exit(self, child: ChromeProcess) -> None:
        """Take note of the death of a Chrome that another process is the parent of, and reaps."""
        self._selector.unregister(child.pidfd)
        if child.exit is None:
            self._gateways.send(wire.Exited(child.key, child.on_exit(None)))

    def reaped(self, pid: int, status: int) -> None:
        """Take note of a dead process: a Chrome, or one that removes a profile."""
        for child in self.all:
            if child.remover_pid == pid:
                child.on_profile_removed()
            elif child.pid == pid and child.exit is None:
                exit = child.on_exit(status)
                if self.by_key.get(child.key) is child:  # the gateway that serves knows it
                    self._gateways.send(wire.Exited(child.key, exit))

    def tick(self, now: float) -> bool:
        """Move each end on, and return whether one is complete."""
        for child in self.all:
            stderr = child.stderr
            child.tick(now)
            if child.stderr != stderr and stderr in self._selector.get_map():
                self._selector.unregister(stderr)  # closed, and another pipe may get its number
        return any(child.phase is Phase.GONE for child in self.all)

    def due(self) -> list[float]:
        """Return when :meth:`tick` is to be called (monotonic)."""
        ending = [child for child in self.all if child.phase is not Phase.RUNNING]
        return [child.deadline for child in ending if not child.remover_pid]

    def remove_gone(self) -> None:
        """Take those whose end is complete out of the table, and report them."""
        for child in [child for child in self.all if child.phase is Phase.GONE]:
            self.all.remove(child)
            self._launcher.release(child)
            self._fd_store.remove(child)
            if self.by_key.get(child.key) is not child:
                child.release_fds()
                continue
            # A gateway that is sent Gone may die before it acts on it: Buried ends that.
            self._gateways.send(wire.Gone(child.key, child.usage))
            if not child.has_snapshot:  # it was no session yet, so no other gateway asks for it
                self._forget(child)

    def _forget(self, child: ChromeProcess) -> None:
        del self.by_key[child.key]
        child.release_fds()
