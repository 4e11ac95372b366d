"""What of an event and its session is recorded."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from chromepool.config import Settings
from chromepool.gateway.event_stream import Event
from chromepool.gateway.history.recorder import HistoryRecorder, past_session
from chromepool.gateway.sessions.session import POOL, Session
from chromepool.gateway.spec import SessionSpec
from chromepool.model import Exit, Reason, State, Usage
from chromepool.schema.history import PastSession

NOW = datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.UTC)


class Rows:
    """A writer that keeps what it takes."""

    def __init__(self) -> None:
        self.sessions: list[PastSession] = []
        self.events: list[Event] = []

    def put_session(self, row: PastSession) -> None:
        self.sessions.append(row)

    def add_event(self, row: Event) -> None:
        self.events.append(row)


def session(**given: Any) -> Session:
    spec = SessionSpec("uid:1", Settings().session_limits, labels={"job": "7"})
    return Session(1, spec, lambda: 100.0, **given)


def ended() -> Session:
    made = session(exit=Exit(1, None, stderr="x" * 5000), detail="d" * 5000)
    made.move(State.READY)
    made.begin_end(Reason.CRASHED, "d" * 5000)
    made.finish(Usage(cpu_s=1.5))
    return made


@pytest.mark.parametrize(
    ("name", "owner", "recorded"),
    [
        ("session.created", "uid:1", True),
        ("session.closed", "uid:1", True),
        ("session.closing", "uid:1", False),
        ("session.closed", POOL, False),
    ],
)
def test_a_session_is_recorded_when_it_begins_and_ends(
    name: str, owner: str, recorded: bool
) -> None:
    rows = Rows()
    recorder = HistoryRecorder(rows)  # type: ignore[arg-type]
    event = Event(1, NOW, name, "1", owner)
    recorder.on_event(event, session())
    assert rows.events == [event]
    assert bool(rows.sessions) == recorded


def test_an_event_without_a_session_is_recorded() -> None:
    rows = Rows()
    HistoryRecorder(rows).on_event(Event(1, NOW, "session.closed", "1", "uid:1"))  # type: ignore[arg-type]
    assert len(rows.events) == 1
    assert rows.sessions == []


def test_a_running_session_has_no_usage() -> None:
    row = past_session(session())
    assert (row.usage, row.exit, row.ended_at, row.reason) == (None, None, None, None)
    assert (row.owner, row.labels) == ("uid:1", {"job": "7"})


def test_long_texts_are_cut() -> None:
    row = past_session(ended())
    assert row.usage is not None
    assert row.exit is not None
    assert (row.usage["cpu_s"], row.usage["cdp_messages_in"]) == (1.5, 0)
    assert row.reason == "crashed"
    assert len(row.detail) == 1000
    assert len(row.exit["stderr"]) == 1000
