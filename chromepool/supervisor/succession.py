"""What a new gateway is told of the sessions that were there before it."""

from __future__ import annotations

from chromepool import wire
from chromepool.supervisor.child import Child, Phase
from chromepool.supervisor.gateways import Parcel


def introduce(child: Child) -> Parcel | None:
    """A session, with what it takes to drive it; None for one that is nobody's."""
    shared = child.share()
    if shared is None:
        return None
    return wire.Adopt(child.key, child.pid, str(child.profile)), shared


def told_late(child: Child) -> list[Parcel]:
    """What became of it while nobody listened."""
    told: list[Parcel] = []
    if child.exit is not None:
        told.append((wire.Exited(child.key, child.exit), ()))
    if child.phase is Phase.GONE:
        told.append((wire.Gone(child.key, child.usage), ()))
    return told
