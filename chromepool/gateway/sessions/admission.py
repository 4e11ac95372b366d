"""The gate for new sessions, and decisions about slots and memory with what is known now."""

import dataclasses
from collections.abc import Callable

from chromepool.errors import ChromepoolError, Draining
from chromepool.gateway.capacity import admission, memory
from chromepool.gateway.capacity.autoscale import Autoscale
from chromepool.gateway.capacity.breaker import Breaker
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.events import SlotFreed
from chromepool.gateway.sessions.queue import SlotQueue
from chromepool.gateway.sessions.registry import SessionRegistry, WarmChromes
from chromepool.gateway.sessions.session import POOL
from chromepool.gateway.spec import SessionSpec

_BLANK_BYTES = 64 << 20
"""Memory that a Chrome is charged once it is up, its page still blank (measured: 60 to 69 MB)."""


@dataclasses.dataclass(eq=False)
class Gate:
    """Open: sessions are created. Closed: callers are refused with the error that closed it."""

    publish: Callable[[object], None]
    closed: ChromepoolError | None = None
    """The error for callers; None while the gate is open."""
    stopping: bool = False
    """True if the daemon ends, and every session with it."""
    leaving: bool = False
    """True if clients are disconnected although their sessions stay, for the next gateway."""

    def close(self, why: ChromepoolError) -> None:
        """Refuse creations from now on. Only a drain gives way to another reason: a gateway that
        ends does not come back."""
        if self.closed is None or isinstance(self.closed, Draining):
            self.closed = why
        self.publish(SlotFreed())  # waiting callers are refused too

    def reopen(self) -> None:
        """Take a drain back; with any other reason the gate stays closed."""
        if isinstance(self.closed, Draining):
            self.closed = None


@dataclasses.dataclass(eq=False)
class Admission:
    """Decides about slots and memory with what is known of the pool now."""

    runtime: Runtime
    registry: SessionRegistry
    gate: Gate
    on_waited: Callable[[float], None]
    """Called with the seconds that each caller was in the queue."""

    def __post_init__(self) -> None:
        self._settings = self.runtime.settings
        self.warm = WarmChromes()
        self.breaker = Breaker(self._settings)
        self.autoscale = Autoscale(self._settings)
        self.queue = SlotQueue(self._settings, self.runtime.clock, self.decide, self.on_waited)

    @property
    def occupied(self) -> int:
        """Slots taken, including those of creations under way."""
        return self.registry.occupied + self.queue.held

    @property
    def slots(self) -> int:
        """Sessions admitted now."""
        return self.autoscale.admitted

    @property
    def warm_wanted(self) -> int:
        """Warm Chromes wanted now."""
        if self.gate.closed is not None:
            return 0
        return self.autoscale.reserve(self.occupied, self.runtime.clock())

    def decide(self, spec: SessionSpec) -> admission.Decision:
        """Return whether one more session fits now."""
        # Reading the memory files takes longer than the rest; a warm Chrome needs no more of it.
        return admission.decide(self._snapshot(read_memory=not self.warm), spec)

    def check_start(self) -> None:
        """Raise the refusal if no Chrome may be started for a session that holds a slot: others
        may have been admitted at the same moment."""
        decision = admission.decide_start(self._snapshot(own=1))
        if isinstance(decision, admission.Refusal):
            raise decision.error

    def check_slot(self) -> None:
        """Raise the refusal that a caller without options would get now, if any."""
        refusal = self.queue.refusal(SessionSpec(POOL, self._settings.session_limits))
        if refusal is not None:
            raise refusal

    def may_start_ahead(self) -> bool:
        """Return whether a warm Chrome is lacking, and there are a slot and the memory for it."""
        lacking = len(self.warm) < self.warm_wanted
        room = len(self.registry.chromes) + self.queue.held < self.slots
        calm = self.gate.closed is None and not self.queue.waiting and not self.breaker.is_open
        return lacking and room and calm and admission.has_memory(self._snapshot())

    def is_crowded(self) -> bool:
        """Return whether more Chromes run, or are about to start, than there are slots."""
        chromes = self.registry.chromes
        starting = self.queue.held - sum(session.held for session in chromes)
        return len(chromes) + starting > self.slots

    def needs_room(self) -> bool:
        """Return whether a warm Chrome has to make room before another Chrome starts."""
        full = len(self.registry.chromes) >= self.slots
        return full or not admission.has_memory(self._snapshot(own=1))

    def _snapshot(self, *, own: int = 0, read_memory: bool = True) -> admission.Snapshot:
        """The pool now; ``own`` of the slots held are the caller's, whose need is counted once."""
        charged = sum(1 for session in self.registry.chromes if session.held and session.pid)
        promised = max(0, self.queue.held - charged - own)
        return admission.Snapshot(
            occupied=self.occupied,
            slots=self.slots,
            max_sessions=self._settings.max_sessions,
            limited_by=self.autoscale.why,
            closed=self.gate.closed,
            pause_s=self.breaker.pause_s(self.runtime.clock()),
            failure=self.breaker.words,
            warm=tuple(session.limits for session in self.warm),
            memory_left_bytes=memory.left(self.runtime.host.counted_in) if read_memory else None,
            memory_need_bytes=self._settings.session_need_bytes + promised * _BLANK_BYTES,
        )
