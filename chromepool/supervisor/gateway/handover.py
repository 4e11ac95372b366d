"""The messages to a new gateway about the sessions of the gateway before."""

from __future__ import annotations

import os
from collections.abc import Iterable

from chromepool import wire
from chromepool.channel import Packet
from chromepool.supervisor.chrome.process import ChromeProcess, Phase


def adopt_messages(children: Iterable[ChromeProcess]) -> list[Packet]:
    """Return an :class:`wire.Adopt` for each session.

    Raises OSError where there are not enough descriptors for all: none is handed out then.
    """
    packets: list[Packet] = []
    try:
        for child in children:
            adopt = wire.Adopt(child.key, child.pid, str(child.profile))
            packets.append((adopt, child.duplicate_fds()))
    except OSError:
        for _, fds in packets:
            for fd in fds:
                os.close(fd)
        raise
    return packets


def missed_events(children: Iterable[ChromeProcess]) -> list[Packet]:
    """Return what has happened to sessions while no gateway was there to be sent it."""
    missed: list[Packet] = []
    for child in children:
        if child.exit is not None:
            missed.append((wire.Exited(child.key, child.exit), ()))
        if child.phase is Phase.GONE:
            missed.append((wire.Gone(child.key, child.usage), ()))
    return missed
