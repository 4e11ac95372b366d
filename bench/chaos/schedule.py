"""The schedule of faults: decided from the seed alone, before anything runs."""

from __future__ import annotations

import dataclasses
import enum
import random
from collections.abc import Sequence


class Kind(enum.StrEnum):
    """A fault. Those of a session's process: what is sent to which of Chrome's processes."""

    KILL_GATEWAY = "kill gateway"
    STOP_GATEWAY = "stop gateway"
    KILL_BROWSER = "kill browser"
    STOP_BROWSER = "stop browser"
    KILL_GPU = "kill gpu"
    STOP_GPU = "stop gpu"
    KILL_NETWORK = "kill network"
    STOP_NETWORK = "stop network"
    KILL_RENDERER = "kill renderer"
    STOP_RENDERER = "stop renderer"
    MEMORY_HOG = "memory hog"
    FORK_BOMB = "fork bomb"
    VANISH = "client vanishes"
    HALF_OPEN = "half-open client"
    FLOOD = "flood of messages"
    CONNECTIONS = "flood of connections"
    SLOW_READER = "slow reader"
    FULL_DISK = "full disk"
    NO_FDS = "supervisor out of descriptors"
    CLOCK = "clock jumps"


ON_A_SESSION = frozenset(Kind) - {
    Kind.KILL_GATEWAY,
    Kind.STOP_GATEWAY,
    Kind.CONNECTIONS,
    Kind.FULL_DISK,
    Kind.NO_FDS,
    Kind.CLOCK,
}
ENDS_GATEWAY = frozenset({Kind.KILL_GATEWAY, Kind.STOP_GATEWAY})
GATEWAY_ENDS = 3
"""Deaths of the gateway in one daemon: each further one in a row is followed by a longer pause."""
TOGETHER = 4
"""Faults of one round at most."""
_LONGEST_PAUSE_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A thing that goes wrong."""

    kind: Kind
    victim: int = -1
    """Place of the session; -1: no session in particular."""
    pause_s: float = 0.0
    """Seconds after the fault before."""
    size: int = 0
    """Detail of the fault: which of several processes, how many messages, how far a clock
    jumps."""


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """Faults that overlap. No session has more than one, so that its end has one reason."""

    faults: tuple[Fault, ...]


def make_schedule(
    seed: int, rounds: int, sessions: int, kinds: Sequence[Kind] = tuple(Kind)
) -> list[list[Round]]:
    """The lives of daemons, each a list of rounds; the same for the same arguments.

    Every kind comes once before any comes again, as far as there are rounds enough.
    """
    dice = random.Random(seed)
    deck: list[Kind] = []
    lives: list[list[Round]] = [[]]
    ended = 0
    for _ in range(rounds):
        chosen = _deal(dice, deck, kinds, sessions)
        ends = len(ENDS_GATEWAY.intersection(chosen))
        if ended + ends > GATEWAY_ENDS:
            lives.append([])
            ended = 0
        ended += ends
        lives[-1].append(_round(dice, chosen, sessions))
    return lives


def _deal(
    dice: random.Random, deck: list[Kind], kinds: Sequence[Kind], sessions: int
) -> list[Kind]:
    """The kinds of one round, all different, from a deck that is shuffled when it is used up."""
    chosen: list[Kind] = []
    for _ in range(min(TOGETHER, len(kinds))):
        if not deck:
            deck += dice.sample(list(kinds), len(kinds))
        fits = (kind for kind in deck if _fits(kind, chosen, sessions))
        kind = next(fits, None)
        if kind is not None:
            deck.remove(kind)
            chosen.append(kind)
    return chosen


def _fits(kind: Kind, chosen: Sequence[Kind], sessions: int) -> bool:
    if kind in ENDS_GATEWAY:
        return not ENDS_GATEWAY.intersection(chosen)
    on_sessions = len(ON_A_SESSION.intersection(chosen))
    return kind not in chosen and (kind not in ON_A_SESSION or on_sessions < sessions)


def _round(dice: random.Random, kinds: Sequence[Kind], sessions: int) -> Round:
    victims = iter(dice.sample(range(sessions), sessions))
    return Round(
        tuple(
            Fault(
                kind,
                next(victims) if kind in ON_A_SESSION else -1,
                round(dice.uniform(0.0, _LONGEST_PAUSE_S), 3),
                dice.randrange(1 << 16),
            )
            for kind in kinds
        )
    )
