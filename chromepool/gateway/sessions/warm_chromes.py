"""The warm Chromes that wait for an owner."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from chromepool.gateway.sessions.events import SessionEnding
from chromepool.gateway.sessions.session import Session
from chromepool.gateway.spec import SessionSpec


class WarmChromes:
    """Sessions without an owner, the oldest first; each is handed out once, or ended."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Session] = collections.deque()
        self.taken = 0
        """Number of sessions handed out to owners."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._waiting)

    def __contains__(self, session: Session) -> bool:
        return session in self._waiting

    def add(self, session: Session) -> None:
        """Add a session that is ready."""
        self._waiting.append(session)

    def take(self, spec: SessionSpec) -> Session | None:
        """Take out the oldest that suits ``spec``; None where none does."""
        for session in self._waiting:
            if spec.suits_warm(session.limits):
                self._waiting.remove(session)
                self.taken += 1
                return session
        return None

    def take_any(self) -> Session | None:
        """Take out the oldest, to be ended; None where there is none."""
        return self._waiting.popleft() if self._waiting else None

    def remove(self, session: Session) -> None:
        """Take out a session, if it is there."""
        if session in self._waiting:
            self._waiting.remove(session)

    def on_ending(self, event: SessionEnding) -> None:
        """Forget a session that ended while it waited."""
        self.remove(event.session)
