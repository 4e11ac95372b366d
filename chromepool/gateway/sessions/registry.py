"""Every session that is known: running, warm, ending, and lately ended."""

import collections
import itertools
from collections.abc import Callable

from chromepool.errors import SessionNotFound, SessionNotReady
from chromepool.gateway.browser.browser import Browser
from chromepool.gateway.sessions.events import SessionEnding, state_event
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import State

_ENDED = 100
"""Ended sessions that stay visible at most."""
_ENDED_S = 3600.0
"""Seconds that an ended session stays visible at most."""
_RESUMING_S = 1.0
"""Seconds after which a client may ask again for a session that is being adopted."""


class SessionRegistry:
    """Finds sessions by id and by number, and counts the slots they take."""

    def __init__(
        self, clock: Callable[[], float], publish: Callable[[object], None], next_key: int = 1
    ) -> None:
        """``publish`` is given an event for each move of a session; ``next_key`` is the lowest
        number that no earlier gateway has given out."""
        self._clock = clock
        self._publish = publish
        self._sessions: dict[str, Session] = {}
        self._by_key: dict[int, Session] = {}
        self._ended: collections.deque[Session] = collections.deque()
        self._keys = itertools.count(next_key)

    # -- finding --

    def all(self) -> list[Session]:
        """All sessions that are known, including warm Chromes and ended sessions."""
        return list(self._sessions.values())

    @property
    def chromes(self) -> list[Session]:
        """The sessions of which something is left: a process, a control group, a file."""
        return list(self._by_key.values())

    @property
    def occupied(self) -> int:
        """Slots taken by sessions of which something is left, except for warm Chromes, which make
        room, and sessions whose creation is under way, since the creation holds a slot."""
        return sum(1 for s in self._by_key.values() if s.owner != POOL and not s.held)

    def by_key(self, key: int) -> Session | None:
        """The session of this number, while something of it is left."""
        return self._by_key.get(key)

    def find(self, session_id: str | None) -> Session | None:
        """The session of this id; None where there is none."""
        return self._sessions.get(session_id or "")

    def get(self, session_id: str) -> Session:
        """The session of this id; raises :class:`SessionNotFound`."""
        if session_id not in self._sessions:
            raise SessionNotFound("There is no session of this id.")
        return self._sessions[session_id]

    def live(self, session_id: str) -> tuple[Session, Browser]:
        """A session that can be driven, and its browser; raises :class:`SessionNotFound`, and
        :class:`SessionNotReady` while it is adopted."""
        session = self.get(session_id)
        if session.state is State.RESUMING:
            raise SessionNotReady("The session is being taken over.", retry_after_s=_RESUMING_S)
        if session.state is not State.READY or session.browser is None or session.owner == POOL:
            why = f" It ended: {session.detail}." if session.reason else ""
            state = "waiting for an owner" if session.owner == POOL else session.state
            raise SessionNotFound(f"The session is {state}.{why}")
        return session, session.browser

    # -- adding and removing --

    def next_key(self) -> int:
        """A number on the wire that no session ever had."""
        return next(self._keys)

    def add(self, spec: SessionSpec, *, held: bool) -> Session:
        """A new session, without a Chrome yet; ``held``: its creation holds a slot."""
        return self.enter(Session(self.next_key(), spec, self._clock, self.on_move, held=held))

    def enter(self, session: Session) -> Session:
        """Make a session known."""
        self._sessions[session.id] = session
        self._by_key[session.key] = session
        return session

    def on_move(self, session: Session, before: State) -> None:
        """Publish the event of a session's move."""
        self._publish(state_event(session, before))

    def remove(self, key: int) -> Session | None:
        """Take out a session of which nothing is left; None where it was taken out before."""
        return self._by_key.pop(key, None)

    def keep_ended(self, session: Session) -> None:
        """Keep an ended session visible for a while; the oldest make way."""
        self._ended.append(session)
        self.forget_ended()

    def forget_ended(self) -> None:
        """Forget sessions that ended long ago, and the first of too many."""
        oldest = self._clock() - _ENDED_S
        while self._ended and (len(self._ended) > _ENDED or self._ended[0].ended < oldest):
            self._sessions.pop(self._ended.popleft().id, None)


class WarmChromes(collections.deque[Session]):
    """Sessions that wait for an owner, the oldest first; each is handed out once, or ended."""

    taken = 0
    """Number of sessions handed out to owners."""

    def take(self, spec: SessionSpec) -> Session | None:
        """Take out the oldest that suits ``spec``; None where none does."""
        session = next((s for s in self if spec.suits_warm(s.limits)), None)
        if session is not None:
            self.remove(session)
            self.taken += 1
        return session

    def on_ending(self, event: SessionEnding) -> None:
        """Forget a session that ended while it waited."""
        if event.session in self:
            self.remove(event.session)
