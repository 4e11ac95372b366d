"""The gate for new sessions, closed while the gateway drains or ends."""

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
        """True if the daemon ends, and every session with it."""
        self.leaving = False
        """True if clients are disconnected although their sessions stay, for the next gateway."""

    def close(self, why: ChromepoolError) -> None:
        """Refuse creations from now on.

        Only a drain gives way to another reason: a gateway that ends does not come back.
        """
        if self.closed is None or isinstance(self.closed, Draining):
            self.closed = why
        self._publish(SlotFreed())  # waiting callers are refused too

    def reopen(self) -> None:
        """Take a drain back; with any other reason the gate stays closed."""
        if isinstance(self.closed, Draining):
            self.closed = None
