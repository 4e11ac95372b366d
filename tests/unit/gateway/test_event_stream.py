"""The stream of events has a bound for listeners that fall behind."""

from __future__ import annotations

import time

from chromepool.gateway.event_stream import EventStream
from testing.cdp import run


def test_a_listener_that_falls_behind_is_ended_at_the_bound() -> None:
    async def scenario() -> None:
        events = EventStream(time.monotonic, lambda event: None)
        listener = events.listen(None)
        for _ in range(1000):
            events.emit("daemon.draining")
        assert len(events._listeners) == 1
        events.emit("daemon.draining")
        assert events._listeners == []
        told = [await listener.next(1) for _ in range(1001)]
        assert [event and event.number for event in told] == [*range(1, 1001), None]

    run(scenario())
