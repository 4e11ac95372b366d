"""The gateway that serves, the one that is to follow it, and when the next may start.

Sessions outlive gateways: whatever becomes of one, the supervisor keeps every Chrome with both ends
of its pipe, and the listening sockets, so that new connections wait for the next.
"""

from __future__ import annotations

import collections
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from chromepool import wire
from chromepool.errors import StartFailed, WireError
from chromepool.logs import Log
from chromepool.supervisor.gateway.process import BEAT_S, GatewayProcess
from chromepool.supervisor.linux.reaper import split_status

log = Log("chromepool.supervisor")

Packet = tuple[wire.Message, tuple[int, ...]]
"""A message and the descriptors that go with it."""
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 10.0
"""A gateway that lived this long owes nothing for earlier deaths."""
_SHORTAGE_S = 1.0
"""Pause where none could be started: what was missing may be there again at any moment."""
_LOADING_S = 60.0
"""Time to import its code; past that it hangs."""
HANDOVER_S = 10.0
"""Time to leave for one that is to be replaced."""
_EVIDENCE_S = 0.5
"""Time to say where it hangs."""
_WINDOW_S = 300.0
"""Deaths within so long are told to the next one, which raises the alert."""


class Owner(Protocol):
    """Whose gateways they are."""

    def welcome(self) -> list[Packet]:
        """The first messages for the gateway that serves from now on. Raises OSError."""

    def on_message(self, message: wire.Message, fds: list[int]) -> None:
        """What it says; raises :class:`WireError` if it must not. ``fds`` are to be closed."""

    def on_ready(self) -> None:
        """It serves."""

    def on_death(self) -> None:
        """It is dead; another follows, unless the daemon stops."""

    def on_refused(self) -> None:
        """The one that was to follow died before it could, and the old one goes on."""


class Gateways:
    """Starts them, listens to them, and ends those that hang."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        owner: Owner,
        silence_s: Callable[[], float],
    ) -> None:
        """``silence_s``: how long one may be silent before it counts as hung."""
        self._listeners, self._selector = listeners, selector
        self._owner, self._silence_s = owner, silence_s
        self.current: GatewayProcess | None = None
        self._coming: GatewayProcess | None = None
        self._pause_s = self._start_at = 0.0
        self._died: collections.deque[float] = collections.deque(maxlen=100)
        self._stopping = False
        self.starts = self.deaths = 0

    @property
    def pids(self) -> list[int]:
        """Of those that live."""
        return [gateway.pid for gateway in (self.current, self._coming) if gateway]

    @property
    def failures(self) -> int:
        """How many died unasked within the last five minutes."""
        since = time.monotonic() - _WINDOW_S
        return sum(at > since for at in self._died)

    # -- starting --

    def start_if_due(self) -> None:
        """Starts one where there is none."""
        if self.current or self._coming or self._stopping or time.monotonic() < self._start_at:
            return
        self._start()

    def replace(self) -> str:
        """Starts another, which takes over as soon as it has loaded; why not, or "". One that is
        starting already will do: what it is told it is told when it takes over."""
        return "" if self._coming is not None else self._start()

    def _start(self) -> str:
        try:
            self._coming = GatewayProcess(self._listeners)
        except (StartFailed, OSError) as error:  # no process, no descriptor: there may be again
            self._start_at = time.monotonic() + _SHORTAGE_S
            log.error("gateway.not_started", error=error, pause_s=_SHORTAGE_S)
            return f"no other gateway could be started: {error}"
        self.starts += 1
        self._listen_to(self._coming)
        return ""

    def _delay(self, lived_s: float) -> float:
        """Sets when the next may start, after one that lived so long; the pause."""
        if lived_s > _STEADY_S:
            self._pause_s = 0.0
        pause = self._pause_s
        self._start_at = time.monotonic() + pause
        self._pause_s = min(_LONGEST_PAUSE_S, max(0.5, pause * 2))
        return pause

    def _promote(self) -> None:
        """The one that has loaded serves from now on."""
        self.current, self._coming = self._coming, None
        assert self.current is not None
        try:
            parcels = self._owner.welcome()
        except OSError as error:  # no descriptors: with them it may go better a little later
            log.error("gateway.not_welcomed", error=error)
            self.current.kill()
            return
        for message, fds in parcels:
            self.tell(message, fds)

    # -- words --

    def _listen_to(self, gateway: GatewayProcess) -> None:
        def on_wire(events: int) -> None:
            self._on_wire(gateway, events)

        self._selector.register(gateway.wire.sock, selectors.EVENT_READ, on_wire)

    def _on_wire(self, gateway: GatewayProcess, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                gateway.wire.flush()
            if events & selectors.EVENT_READ:
                received = gateway.wire.receive()
                if received is None:
                    self._drop(gateway, "it closed its wire")
                else:
                    self._on_message(gateway, *received)
        except (OSError, WireError, ValueError) as error:  # nothing it says may end the supervisor
            self._drop(gateway, str(error))

    def _on_message(self, gateway: GatewayProcess, message: wire.Message, fds: list[int]) -> None:
        gateway.heard_at = time.monotonic()
        try:
            match message:
                case wire.Loaded():
                    self._on_loaded(gateway)
                case wire.Pong():
                    pass
                case _ if gateway is not self.current:
                    raise WireError("a gateway says nothing before it is welcomed.")
                case wire.Ready():
                    gateway.ready = True
                    self._owner.on_ready()
                case _:
                    self._owner.on_message(message, fds)
        finally:
            for fd in fds:
                wire.close_foreign(fd)

    def _on_loaded(self, gateway: GatewayProcess) -> None:
        if gateway is not self._coming:
            raise WireError("a gateway loads once.")
        gateway.loaded = True
        if self.current is None:
            self._promote()
        else:
            self._have_leave(self.current)

    def leave(self) -> None:
        """Has the one that serves leave, with none to follow: its sessions stay."""
        if self.current is not None:
            self._have_leave(self.current)

    def _have_leave(self, gateway: GatewayProcess) -> None:
        gateway.leaving = True
        if gateway.kill_at is None:  # or it hangs, and is about to be ended
            gateway.kill_at = time.monotonic() + HANDOVER_S
        self.tell(wire.Handover(HANDOVER_S))

    def tell(self, message: wire.Message, fds: tuple[int, ...] = ()) -> bool:
        """Says something to the one that serves; False where there is none. ``fds`` are closed."""
        gateway = self.current
        if gateway is None or not gateway.connected:
            for fd in fds:
                os.close(fd)
            return False
        try:
            gateway.wire.send(message, fds)
        except WireError as error:  # ours, and not its fault: whoever waits for it waits in vain
            log.error("gateway.untold", error=error)
            return False
        except OSError as error:
            self._drop(gateway, str(error))
            return False
        return True

    def _drop(self, gateway: GatewayProcess, why: str) -> None:
        """No more words with this one; its death is seen by the reaper."""
        if not gateway.connected:
            return
        self._selector.unregister(gateway.wire.sock)
        gateway.wire.close()
        if self._stopping:
            return
        if gateway.leaving:  # it has closed its wire last of all, and exits
            gateway.kill_at = time.monotonic() + HANDOVER_S
            return
        log.error("gateway.dropped", why=why)
        gateway.kill()

    # -- ends --

    def reaped(self, pid: int, status: int) -> bool:
        """Whether a dead process was one of them."""
        for gateway in (self.current, self._coming):
            if gateway is not None and gateway.pid == pid:
                self._on_death(gateway, status)
                return True
        return False

    def _on_death(self, gateway: GatewayProcess, status: int) -> None:
        if gateway.connected:
            self._selector.unregister(gateway.wire.sock)
        gateway.close()
        planned = gateway.leaving and os.waitstatus_to_exitcode(status) == 0
        if gateway is self._coming:
            self._coming = None
            self._mourn(gateway, status)
            if self.current is not None:
                log.error("gateway.not_replaced")
                self._owner.on_refused()
            return
        self.current = None
        if planned:
            log.info("gateway.left")
        else:
            self._mourn(gateway, status)
        self._owner.on_death()
        if self._coming is not None and self._coming.loaded:
            self._promote()

    def _mourn(self, gateway: GatewayProcess, status: int) -> None:
        code, name = split_status(status)
        now = time.monotonic()
        pause = self._delay(now - gateway.started_at)
        if not self._stopping:
            self.deaths += 1
            self._died.append(now)
            log.error("gateway.died", code=code, signal=name, pause_s=pause)

    def stop(self) -> None:
        """No other is started from here on."""
        self._stopping = True
        if self._coming is not None:
            self._coming.kill()

    def kill(self) -> None:
        """SIGKILL to all of them."""
        for gateway in (self.current, self._coming):
            if gateway is not None:
                gateway.kill()

    # -- time --

    def tick(self, now: float) -> None:
        """Asks for signs of life, and ends those that give none."""
        for gateway in (self.current, self._coming):
            if gateway is None:
                continue
            silent_s = gateway.silent_s(now)
            if gateway.kill_at is not None and now >= gateway.kill_at:
                self._end(gateway)
            elif gateway.connected and not gateway.questioned and self._hangs(gateway, silent_s):
                gateway.question()
                gateway.kill_at = now + _EVIDENCE_S
            elif gateway.ready and now - gateway.asked_at >= self._beat_s():
                gateway.asked_at = now
                self.tell(wire.Ping())

    def _hangs(self, gateway: GatewayProcess, silent_s: float) -> bool:
        """Also one that is leaving, or ends its sessions: it could do so for long."""
        return silent_s > self._patience_s(gateway)

    def _beat_s(self) -> float:
        return min(BEAT_S, self._silence_s() / 4)

    def _patience_s(self, gateway: GatewayProcess) -> float:
        return self._silence_s() if gateway.ready else max(_LOADING_S, self._silence_s())

    def _end(self, gateway: GatewayProcess) -> None:
        silent_s = round(time.monotonic() - gateway.heard_at, 1)
        why = "it gave no sign of life" if gateway.questioned else "it did not leave in time"
        log.error("gateway.hung", why=why, silent_s=silent_s, evidence=gateway.evidence())
        gateway.questioned = True
        gateway.kill()
        gateway.kill_at = time.monotonic() + _LONGEST_PAUSE_S

    def listen(self) -> None:
        """Waits for writability exactly where messages wait to be sent."""
        for gateway in (self.current, self._coming):
            if gateway is not None and gateway.connected:
                events = selectors.EVENT_READ
                events |= selectors.EVENT_WRITE if gateway.wire.unsent else 0
                key = self._selector.get_key(gateway.wire.sock)
                if key.events != events:
                    self._selector.modify(gateway.wire.sock, events, key.data)

    def due(self, now: float) -> float:
        """When there is something to do next (monotonic)."""
        if self.current is None and self._coming is None:
            return now + _LONGEST_PAUSE_S if self._stopping else self._start_at
        dues = [now + self._beat_s()]
        dues += [g.kill_at for g in (self.current, self._coming) if g and g.kill_at is not None]
        return min(dues)
