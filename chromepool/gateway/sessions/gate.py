"""Whether sessions are created, and how this gateway is about to end."""

from __future__ import annotations

from collections.abc import Callable

from chromepool.errors import ChromepoolError, Draining
from chromepool.gateway.sessions.events import SlotFreed


class Gate:
    """Open: sessions are created. Closed: callers are refused with the error that closed it."""

    def __init__(self, publish: Callable[[object], None]) -> None:
        self._publish = publish
        self.closed: ChromepoolError | None = None
        """The error for callers; None while the gate is open."""
        self.stopping = False
        """Whether the daemon ends, and every session with it."""
        self.leaving = False
        """Whether clients are disconnected although their sessions stay, for the next gateway."""

    def close(self, why: ChromepoolError) -> None:
        """Refuses creations from now on.

        Only a drain gives way to another reason: a gateway that ends does not come back.
        """
        if self.closed is None or isinstance(self.closed, Draining):
            self.closed = why
        self._publish(SlotFreed())  # waiting callers are refused too

    def reopen(self) -> None:
        """Takes a drain back; with any other reason the gate stays closed."""
        if isinstance(self.closed, Draining):
            self.closed = None
