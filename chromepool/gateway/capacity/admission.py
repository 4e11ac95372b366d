"""Decisions about slots, from a snapshot of the pool; nothing here reads or changes anything."""

import dataclasses

from chromepool.errors import ChromepoolError, CircuitOpen, NoMemory, PoolFull
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Limits

RETRY_S = 5.0
"""Seconds after which a refused caller may try again, where nothing better is known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """The pool at the moment of a decision."""

    occupied: int
    """Slots taken, including those of creations under way."""
    slots: int
    """Sessions admitted now: ``max_sessions``, or fewer under high load with dynamic limits."""
    max_sessions: int
    limited_by: str = ""
    """Reason why fewer than ``max_sessions`` are admitted."""
    closed: ChromepoolError | None = None
    """Reason why no session is created at all."""
    pause_s: float = 0.0
    """Seconds until a start may be tried, since Chrome keeps failing to start."""
    failure: str = ""
    """Chrome's words when it last failed to start."""
    warm: tuple[Limits, ...] = ()
    """The limits of each warm Chrome."""
    memory_left_bytes: int | None = None
    """Memory left for the pool; None: nothing can tell."""
    memory_need_bytes: int = 0
    """Memory for one more Chrome and for those that are about to start."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """The caller gets a slot."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """The caller gets no slot now; the error says why, and what to do."""

    error: ChromepoolError


Decision = Grant | Refusal


def decide(pool: Snapshot, spec: SessionSpec) -> Decision:
    """Return whether one more session fits."""
    if pool.closed is not None:
        return Refusal(pool.closed)
    if pool.occupied >= pool.slots:
        return Refusal(_full(pool))
    if any(spec.suits_warm(limits) for limits in pool.warm):
        return Grant()
    if pool.warm:  # one of them makes room
        pool = dataclasses.replace(pool, memory_left_bytes=None)
    return decide_start(pool)


def decide_start(pool: Snapshot) -> Decision:
    """Return whether a Chrome may be started for a session that has its slot."""
    if pool.closed is not None:
        return Refusal(pool.closed)
    if pool.pause_s:
        said = f"Chrome keeps failing to start: {pool.failure}"
        remedy = "Run `chromepool doctor` on the daemon's machine, as the daemon's user."
        return Refusal(CircuitOpen(said, remedy=remedy, retry_after_s=pool.pause_s))
    if not has_memory(pool):
        said = "There is no memory for another Chrome."
        remedy = "End a session, or raise pool_memory_bytes if the machine has more."
        return Refusal(NoMemory(said, remedy=remedy, retry_after_s=RETRY_S))
    return Grant()


def has_memory(pool: Snapshot) -> bool:
    """Return whether there is memory for one more Chrome."""
    left = pool.memory_left_bytes
    return left is None or left >= pool.memory_need_bytes


def _full(pool: Snapshot) -> PoolFull:
    said = f"All {pool.max_sessions} sessions are in use."
    if pool.occupied < pool.max_sessions:
        admitted = f"{pool.slots} of {pool.max_sessions} sessions are admitted now"
        said = f"{admitted}, since {pool.limited_by}."
    remedy = "Delete one, wait for one (?wait=30), or try again later."
    return PoolFull(said, remedy=remedy, retry_after_s=RETRY_S)
