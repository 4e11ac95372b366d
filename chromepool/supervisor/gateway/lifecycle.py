"""The gateway that serves, the one that follows it, and when another may start.

Sessions outlive gateways: whatever becomes of one, the supervisor keeps every Chrome with both ends
of its pipe, and the listening sockets, in which new connections wait for the next.
"""

import collections
import functools
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from chromepool import wire
from chromepool.channel import Packet
from chromepool.errors import StartFailed, WireError
from chromepool.logs import Log
from chromepool.supervisor.gateway.process import PING_S, GatewayProcess
from chromepool.supervisor.linux.reaper import split_status

log = Log("chromepool.supervisor")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
"""Pauses double up to this: one that cannot start must not fill the log, and clients miss one."""
_STEADY_S = 10.0
"""Life after which the pauses begin at none again: the fault is not in the start."""
_SHORTAGE_S = 1.0
"""Pause where the kernel had no process or descriptor for one: it may have some at any moment."""
_LOADING_S = 60.0
"""Time to import its code: a cold disk on a loaded machine takes tens of seconds."""
HANDOVER_S = 10.0
"""Time to leave for the next one."""
_STACKS_S = 0.5
"""Time to write its stacks before it is killed."""
_WINDOW_S = 300.0
"""Deaths within this time are reported to the next gateway, which raises the alert."""


class Gateways:
    """The gateway processes: starts and replaces them, talks to them, and kills those that hang."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        selector: selectors.BaseSelector,
        *,
        silence_s: Callable[[], float],
        welcome: Callable[[], list[Packet]],
        on_message: Callable[[wire.Message, list[int]], None],
        on_ready: Callable[[], None],
        on_exit: Callable[[], None],
        on_replacement_failed: Callable[[], None],
    ) -> None:
        """Start none yet.

        ``silence_s`` returns how long one may be silent before it counts as hung; ``welcome`` the
        first messages for the one that serves from now on, or raises OSError. ``on_message`` gets
        what that one sends, and raises :class:`WireError` at what it must not send; descriptors are
        closed here. ``on_exit`` is called when it is dead, ``on_replacement_failed`` when only its
        successor is.
        """
        self._listeners = listeners
        self._selector = selector
        self._silence_s = silence_s
        self._welcome = welcome
        self._on_session_message = on_message
        self._on_ready = on_ready
        self._on_exit = on_exit
        self._on_replacement_failed = on_replacement_failed
        self.current: GatewayProcess | None = None
        self._next: GatewayProcess | None = None
        self._pause_s = 0.0
        self._start_at = 0.0
        self._deaths_at: collections.deque[float] = collections.deque(maxlen=100)
        self._stopping = False
        self.starts = 0
        self.deaths = 0

    @property
    def _alive(self) -> list[GatewayProcess]:
        return [gateway for gateway in (self.current, self._next) if gateway is not None]

    @property
    def pids(self) -> list[int]:
        """Process ids of those that live."""
        return [gateway.pid for gateway in self._alive]

    @property
    def failures(self) -> int:
        """Number of deaths, other than planned ones, within the last five minutes."""
        since = time.monotonic() - _WINDOW_S
        return sum(at > since for at in self._deaths_at)

    def start_if_due(self) -> None:
        """Start one where there is none and the pause is over."""
        if not (self._alive or self._stopping or time.monotonic() < self._start_at):
            self._start()

    def replace(self) -> str:
        """Start another, which takes over once it has loaded; return why that cannot be, or ""."""
        # One that is starting already will do: it is sent the settings only when it takes over.
        return "" if self._next is not None else self._start()

    def _start(self) -> str:
        try:
            self._next = GatewayProcess(self._listeners)
        except (StartFailed, OSError) as error:
            self._start_at = time.monotonic() + _SHORTAGE_S
            log.error("gateway.start_failed", error=error, pause_s=_SHORTAGE_S)
            return f"no other gateway could be started: {error}"
        self.starts += 1
        on_wire = functools.partial(self._on_wire, self._next)
        self._selector.register(self._next.channel.sock, selectors.EVENT_READ, on_wire)
        return ""

    def _promote(self) -> None:
        assert self._next is not None
        self.current = self._next
        self._next = None
        try:
            packets = self._welcome()
        except OSError as error:  # no descriptors: its successor may have more luck
            log.error("gateway.welcome_failed", error=error)
            self.current.kill()
            return
        for message, fds in packets:
            self.send(message, fds)

    def _on_wire(self, gateway: GatewayProcess, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                gateway.channel.flush()
            if events & selectors.EVENT_READ:
                received = gateway.channel.receive()
                if received is None:
                    self._disconnect(gateway, "it closed its wire")
                else:
                    self._on_message(gateway, *received)
        except (OSError, WireError, ValueError) as error:  # nothing it sends may end the supervisor
            self._disconnect(gateway, str(error))

    def _on_message(self, gateway: GatewayProcess, message: wire.Message, fds: list[int]) -> None:
        gateway.last_message_at = time.monotonic()
        try:
            match message:
                case wire.Loaded():
                    self._on_loaded(gateway)
                case wire.Pong():
                    pass
                case _ if gateway is not self.current:
                    raise WireError("A gateway must send nothing before it is welcomed.")
                case wire.Ready():
                    gateway.ready = True
                    self._on_ready()
                case _:
                    self._on_session_message(message, fds)
        finally:
            for fd in fds:
                wire.close_foreign(fd)

    def _on_loaded(self, gateway: GatewayProcess) -> None:
        if gateway is not self._next:
            raise WireError("A gateway must send Loaded only once.")
        gateway.loaded = True
        if self.current is None:
            self._promote()
        else:
            self.leave()

    def leave(self) -> None:
        """Ask the one that serves, if any, to leave: its sessions stay, for a successor."""
        if self.current is not None:
            self.current.leaving = True
            if self.current.kill_at is None:  # otherwise it hangs, and is about to be killed
                self.current.kill_at = time.monotonic() + HANDOVER_S
            self.send(wire.Handover(HANDOVER_S))

    def send(self, message: wire.Message, fds: tuple[int, ...] = ()) -> bool:
        """Send to the one that serves, and close ``fds``; return False where there is none."""
        gateway = self.current
        if gateway is None or not gateway.connected:
            for fd in fds:
                os.close(fd)
            return False
        try:
            gateway.channel.send(message, fds)
        except WireError as error:  # our fault, not the gateway's, which waits for it in vain
            log.error("gateway.message_dropped", error=error)
            return False
        except OSError as error:
            self._disconnect(gateway, str(error))
            return False
        return True

    def _disconnect(self, gateway: GatewayProcess, why: str) -> None:
        """Close the wire to one, and kill it unless it is leaving. The reaper sees its death."""
        if not gateway.connected:
            return
        self._selector.unregister(gateway.channel.sock)
        gateway.channel.close()
        if self._stopping:
            return
        if gateway.leaving:  # it closes its wire last of all, and exits
            gateway.kill_at = time.monotonic() + HANDOVER_S
            return
        log.error("gateway.disconnected", why=why)
        gateway.kill()

    def reaped(self, pid: int, status: int) -> bool:
        """Take note of a dead process; return whether it was a gateway."""
        gateway = next((gateway for gateway in self._alive if gateway.pid == pid), None)
        if gateway is not None:
            self._on_death(gateway, status)
        return gateway is not None

    def _on_death(self, gateway: GatewayProcess, status: int) -> None:
        if gateway.connected:
            self._selector.unregister(gateway.channel.sock)
        gateway.close()
        if gateway is self._next:
            self._next = None
            self._record_death(gateway, status)
            if self.current is not None:
                log.error("gateway.replacement_failed")
                self._on_replacement_failed()
            return
        self.current = None
        if gateway.leaving and os.waitstatus_to_exitcode(status) == 0:
            log.info("gateway.exited")
        else:
            self._record_death(gateway, status)
        self._on_exit()
        if self._next is not None and self._next.loaded:
            self._promote()

    def _record_death(self, gateway: GatewayProcess, status: int) -> None:
        now = time.monotonic()
        pause = 0.0 if now - gateway.started_at > _STEADY_S else self._pause_s
        self._start_at = now + pause
        self._pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, pause * 2))
        if not self._stopping:
            code, name = split_status(status)
            self.deaths += 1
            self._deaths_at.append(now)
            log.error("gateway.died", code=code, signal=name, pause_s=pause)

    def stop(self) -> None:
        """Start no other from here on."""
        self._stopping = True
        if self._next is not None:
            self._next.kill()

    def kill(self) -> None:
        """Send SIGKILL to all of them."""
        for gateway in self._alive:
            gateway.kill()

    def tick(self, now: float) -> None:
        """Ping the one that serves, and end those that hang."""
        for gateway in self._alive:
            patience_s = max(self._silence_s(), 0.0 if gateway.ready else _LOADING_S)
            hangs = gateway.silent_s(now) > patience_s
            if gateway.kill_at is not None and now >= gateway.kill_at:
                self._end(gateway)
            elif gateway.connected and not gateway.stacks_requested and hangs:
                gateway.request_stacks()
                gateway.kill_at = now + _STACKS_S
            elif gateway.ready and now - gateway.pinged_at >= self._ping_s():
                gateway.pinged_at = now
                self.send(wire.Ping())

    def _ping_s(self) -> float:
        return min(PING_S, self._silence_s() / 4)

    def _end(self, gateway: GatewayProcess) -> None:
        silent_s = round(time.monotonic() - gateway.last_message_at, 1)
        why = "it gave no sign of life" if gateway.stacks_requested else "it did not leave in time"
        log.error("gateway.hung", why=why, silent_s=silent_s, evidence=gateway.evidence())
        gateway.stacks_requested = True
        gateway.kill()
        gateway.kill_at = time.monotonic() + _LONGEST_PAUSE_S

    def watch_writability(self) -> None:
        """Wait for writability exactly where messages are queued."""
        for gateway in self._alive:
            if gateway.connected:
                events = selectors.EVENT_READ
                events |= selectors.EVENT_WRITE if gateway.channel.unsent else 0
                key = self._selector.get_key(gateway.channel.sock)
                self._selector.modify(key.fileobj, events, key.data)

    def due(self, now: float) -> float:
        """Return when :meth:`tick` or a start is due next (monotonic)."""
        if not self._alive:
            return now + _LONGEST_PAUSE_S if self._stopping else self._start_at
        dues = [gateway.kill_at for gateway in self._alive if gateway.kill_at is not None]
        return min([now + self._ping_s(), *dues])
