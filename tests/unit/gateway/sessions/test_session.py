"""A session: which moves it makes, why it ends, and when it is over by itself."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from chromepool.config import Settings
from chromepool.gateway.sessions import session as sessions
from chromepool.gateway.sessions.deadlines import overdue
from chromepool.gateway.sessions.session import POOL, Session, explain_exit
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Exit, Reason, State, Usage

LIMITS = Settings().session_limits
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
TICK = 0.125
"""Times here are sums of powers of two, so that an edge is an edge."""
PATHS: dict[State, list[State]] = {
    State.STARTING: [],
    State.RESUMING: [State.RESUMING],
    State.READY: [State.READY],
    State.FROZEN: [State.READY, State.FROZEN],
    State.CLOSING: [State.CLOSING],
    State.CLOSED: [State.CLOSING, State.CLOSED],
}
"""How a new session gets to each state."""
ALLOWED = {
    (State.STARTING, State.READY),
    (State.STARTING, State.RESUMING),
    (State.STARTING, State.CLOSING),
    (State.RESUMING, State.READY),
    (State.RESUMING, State.CLOSING),
    (State.READY, State.FROZEN),
    (State.READY, State.CLOSING),
    (State.FROZEN, State.READY),
    (State.FROZEN, State.CLOSING),
    (State.CLOSING, State.CLOSED),
}


class Clock:
    def __init__(self, now: float = 1024.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def spec(**changes: Any) -> SessionSpec:
    return SessionSpec(changes.pop("owner", "uid:1"), changes.pop("limits", LIMITS), **changes)


def session_in(state: State, clock: Clock | None = None, **changes: Any) -> Session:
    session = Session(7, spec(**changes), clock or Clock())
    for step in PATHS[state]:
        session.move(step)
    return session


def ready(clock: Clock, **changes: Any) -> Session:
    return session_in(State.READY, clock, **changes)


# -- states --


def test_every_state_can_be_reached() -> None:
    assert set(PATHS) == set(State)
    for state in State:
        assert session_in(state).state is state


@pytest.mark.parametrize("target", State)
@pytest.mark.parametrize("state", State)
def test_a_move_is_made_or_refused_with_nothing_changed(state: State, target: State) -> None:
    session = session_in(state)
    before = dict(vars(session))
    if (state, target) in ALLOWED:
        session.move(target)
        assert vars(session) == before | {"state": target}
    else:
        with pytest.raises(AssertionError, match=f"session 7 cannot go from {state} to {target}"):
            session.move(target)
        assert vars(session) == before


def test_a_new_session_is_starting_and_has_no_end() -> None:
    session = Session(7, spec(), Clock(5.0))
    assert (session.state, session.reason, session.detail) == (State.STARTING, None, "")
    assert (session.began, session.last_active, session.left) == (5.0, 5.0, None)
    assert not session.is_gone.is_set()
    assert not session.warm
    assert session.ended_at is None


def test_no_two_sessions_share_an_id() -> None:
    found = [session_in(State.STARTING) for _ in range(100)]
    assert len({session.id for session in found}) == len({s.guid for s in found}) == 100
    assert all(len(bytes.fromhex(session.id)) == 16 for session in found)


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.FROZEN])
@pytest.mark.parametrize("reason", Reason)
def test_the_first_reason_wins(state: State, reason: Reason) -> None:
    session = session_in(state)
    assert session.begin_end(reason, "first") is True
    assert session.state is State.CLOSING
    for later in Reason:
        assert session.begin_end(later, "second") is False
    assert (session.state, session.reason, session.detail) == (State.CLOSING, reason, "first")
    session.finish(Usage())
    for later in Reason:
        assert session.begin_end(later, "third") is False
    assert (session.state, session.reason, session.detail) == (State.CLOSED, reason, "first")


@pytest.mark.parametrize("state", [State.CLOSING, State.CLOSED])
def test_what_is_over_already_ends_for_no_other_reason(state: State) -> None:
    session = session_in(state)
    before = dict(vars(session))
    assert session.begin_end(Reason.DELETED, "again") is False
    assert vars(session) == before


def test_finish_keeps_what_was_used_and_tells_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "utc_now", lambda: NOON)
    clock = Clock()
    session = session_in(State.CLOSING, clock)
    clock.now += 3
    session.finish(Usage(memory_bytes=42))
    assert (session.usage.memory_bytes, session.ended, session.ended_at) == (42, 1027.0, NOON)
    assert session.is_gone.is_set()


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSING])
def test_only_what_is_closing_is_ever_gone(state: State) -> None:
    session = session_in(state)
    with pytest.raises(AssertionError, match="cannot go from"):
        session.finish(Usage())
    assert session.state is state
    assert not session.is_gone.is_set()


# -- claimed --


def test_a_claimed_chrome_is_its_new_owners_and_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "utc_now", lambda: NOON)
    clock = Clock()
    session = ready(clock, owner=POOL)
    identity = (session.key, session.id, session.guid)
    clock.now += 512
    wanted = spec(limits=dataclasses.replace(LIMITS, pids=99), max_age_s=8.0, idle_timeout_s=4.0)
    session.claim(wanted)
    assert session.spec is wanted
    assert (session.owner, session.limits.pids, session.warm) == ("uid:1", 99, True)
    assert (session.began, session.last_active, session.created_at) == (1536.0, 1536.0, NOON)
    assert (session.key, session.id, session.guid) == identity
    assert [(due, why) for due, why, _ in session.deadlines()] == [
        (1540.0, Reason.IDLE_TIMEOUT),
        (1544.0, Reason.MAX_AGE),
    ]


def test_a_claim_changes_no_state() -> None:
    session = session_in(State.FROZEN, owner=POOL)
    session.claim(spec(idle_timeout_s=1.0))
    assert session.state is State.FROZEN
    assert session.deadlines() == []


# -- deadlines --

IDLE = {"idle_timeout_s": 16.0}
OLD = {"max_age_s": 16.0}
GRACE = {"grace_s": 16.0}
KINDS = [
    (IDLE, Reason.IDLE_TIMEOUT, "no CDP command for 16 s"),
    (OLD, Reason.MAX_AGE, "it was 16 s old"),
    (GRACE, Reason.CLIENT_CLOSED, "its client did not come back within 16 s"),
]


@pytest.mark.parametrize(("changes", "reason", "detail"), KINDS)
def test_over_at_its_deadline_and_not_a_tick_before(
    changes: dict[str, Any], reason: Reason, detail: str
) -> None:
    clock = Clock()
    session = ready(clock, **changes)
    session.left = clock.now
    assert overdue(session, clock.now) is None
    assert overdue(session, clock.now + 16 - TICK) is None
    assert overdue(session, clock.now + 16) == (reason, detail)
    assert overdue(session, clock.now + 16 + TICK) == (reason, detail)


def test_a_touch_moves_idleness() -> None:
    clock = Clock()
    session = ready(clock, **IDLE)
    clock.now += 16 - TICK
    session.touch()
    assert overdue(session, clock.now + TICK) is None
    assert overdue(session, clock.now + 16 - TICK) is None
    assert overdue(session, clock.now + 16) == (Reason.IDLE_TIMEOUT, "no CDP command for 16 s")


@pytest.mark.parametrize(("changes", "reason", "detail"), KINDS[1:])
def test_a_touch_moves_nothing_else(changes: dict[str, Any], reason: Reason, detail: str) -> None:
    clock = Clock()
    session = ready(clock, **changes)
    session.left = clock.now
    clock.now += 16 - TICK
    session.touch()
    assert overdue(session, clock.now) is None
    assert overdue(session, clock.now + TICK) == (reason, detail)


def test_grace_begins_when_the_last_client_goes_and_ends_when_one_comes() -> None:
    clock = Clock()
    session = ready(clock, **GRACE)
    assert overdue(session, clock.now + 10_000) is None
    session.left = clock.now + 100
    assert overdue(session, clock.now + 116 - TICK) is None
    assert overdue(session, clock.now + 116) is not None
    session.left = None
    assert overdue(session, clock.now + 10_000) is None


def test_no_grace_at_all_is_over_at_once() -> None:
    clock = Clock()
    session = ready(clock, grace_s=0.0)
    assert overdue(session, clock.now) is None
    session.left = clock.now
    assert overdue(session, clock.now) == (
        Reason.CLIENT_CLOSED,
        "its client did not come back within 0 s",
    )


def test_zero_is_never() -> None:
    clock = Clock()
    session = ready(clock, idle_timeout_s=0.0, max_age_s=0.0)
    session.left = clock.now
    assert session.deadlines() == []
    assert overdue(session, clock.now + 1e12) is None
    assert session.expires_at is None


def test_each_deadline_stands_for_itself() -> None:
    clock = Clock()
    both = IDLE | GRACE
    session = ready(clock, **both)
    session.left = clock.now
    assert {reason for _, reason, _ in session.deadlines()} == {
        Reason.IDLE_TIMEOUT,
        Reason.CLIENT_CLOSED,
    }
    assert overdue(session, clock.now + 16 - TICK) is None


ALL = {"idle_timeout_s": 1.0, "max_age_s": 1.0, "grace_s": 1.0}


@pytest.mark.parametrize("state", [s for s in State if s is not State.READY])
def test_who_is_not_ready_has_no_deadline(state: State) -> None:
    clock = Clock()
    session = session_in(state, clock, **ALL)
    session.left = clock.now
    assert session.deadlines() == []
    assert session.expires_at is None
    assert overdue(session, clock.now + 1e9) is None


def test_who_waits_for_an_owner_has_no_deadline() -> None:
    clock = Clock()
    session = ready(clock, owner=POOL, **ALL)
    session.left = clock.now
    assert session.deadlines() == []
    assert session.expires_at is None
    session.claim(spec(**ALL))
    assert len(session.deadlines()) == 3


def test_the_end_of_one_session_ends_its_deadlines() -> None:
    clock = Clock()
    session = ready(clock, **ALL)
    assert overdue(session, clock.now + 1) is not None
    session.begin_end(Reason.DELETED, "")
    assert overdue(session, clock.now + 1) is None


@pytest.mark.parametrize(
    ("idle", "old", "grace", "first"),
    [
        (8.0, 16.0, 32.0, 8.0),
        (16.0, 8.0, 32.0, 8.0),
        (32.0, 16.0, 8.0, 8.0),
        (0.0, 16.0, 8.0, 8.0),
        (0.0, 16.0, None, 16.0),
        (16.0, 0.0, None, 16.0),
    ],
)
def test_it_expires_at_the_earliest_deadline(
    monkeypatch: pytest.MonkeyPatch, idle: float, old: float, grace: float | None, first: float
) -> None:
    monkeypatch.setattr(sessions, "utc_now", lambda: NOON)
    clock = Clock()
    session = ready(clock, idle_timeout_s=idle, max_age_s=old, grace_s=grace)
    session.left = clock.now
    assert session.expires_at == NOON + datetime.timedelta(seconds=first)
    clock.now += 2
    assert session.expires_at == NOON + datetime.timedelta(seconds=first - 2)


def test_last_active_is_the_last_touch_by_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "utc_now", lambda: NOON)
    clock = Clock()
    session = ready(clock)
    clock.now += 8
    assert session.last_active_at == NOON - datetime.timedelta(seconds=8)
    session.touch()
    assert session.last_active_at == NOON
    assert session.began == 1024.0


# -- how Chrome died --


@pytest.mark.parametrize(
    ("exit", "asked", "reason", "words"),
    [
        (Exit(signal="SIGKILL", oom_kills=1), False, Reason.OUT_OF_MEMORY, "memory limit"),
        (Exit(signal="SIGKILL", oom_kills=1), True, Reason.OUT_OF_MEMORY, "memory limit"),
        (Exit(signal="SIGKILL"), False, Reason.CRASHED, "Chrome was killed by SIGKILL"),
        (Exit(signal="SIGSEGV", oom_kills=3), False, Reason.CRASHED, "was killed by SIGSEGV"),
        (Exit(signal="SIGKILL"), True, Reason.CLIENT_CLOSED, "closed the browser"),
        (Exit(code=0), False, Reason.CLIENT_CLOSED, "closed the browser"),
        (Exit(code=0, oom_kills=2), False, Reason.CLIENT_CLOSED, "closed the browser"),
        (Exit(code=1), True, Reason.CLIENT_CLOSED, "closed the browser"),
        (Exit(code=127), False, Reason.CRASHED, "Chrome exited with code 127"),
    ],
)
def test_how_a_chrome_died_says_why_the_session_ended(
    exit: Exit, asked: bool, reason: Reason, words: str
) -> None:
    found, detail = explain_exit(exit, asked_to_close=asked)
    assert found is reason
    assert words in detail
