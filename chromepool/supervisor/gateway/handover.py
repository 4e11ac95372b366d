"""What a new gateway is told of the sessions that were there before it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from chromepool import wire
from chromepool.supervisor.chrome.process import ChromeProcess, Phase
from chromepool.supervisor.gateway.lifecycle import Packet


def introduce_all(children: Iterable[ChromeProcess]) -> tuple[list[Packet], list[ChromeProcess]]:
    """Each session with what it takes to drive it, and those that are nobody's. Raises OSError
    where there are not enough descriptors for all: none is given out then."""
    parcels: list[Packet] = []
    nobodys: list[ChromeProcess] = []
    try:
        for child in children:
            if child.known and child.pipe is not None:
                adopt = wire.Adopt(child.key, child.pid, str(child.profile))
                parcels.append((adopt, child.share()))
            else:
                nobodys.append(child)
    except OSError:
        for _, fds in parcels:
            for fd in fds:
                os.close(fd)
        raise
    return parcels, nobodys


def told_late(child: ChromeProcess) -> list[Packet]:
    """What became of it while nobody listened."""
    told: list[Packet] = []
    if child.exit is not None:
        told.append((wire.Exited(child.key, child.exit), ()))
    if child.phase is Phase.GONE:
        told.append((wire.Gone(child.key, child.usage), ()))
    return told
