"""The gateway's end of the wire: descriptors that nobody takes are closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from chromepool import wire
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import ChromeOptions, Limits

Ask = Callable[[SupervisorClient], Coroutine[Any, Any, Any]]

LIMITS = Limits(memory_bytes=1, heap_bytes=1, pids=1, cpu_cores=1, files=1, file_bytes=1)
ASKED: list[tuple[Ask, wire.Message, int]] = [
    (lambda link: link.spawn(1, LIMITS, ChromeOptions()), wire.Spawned(1, 2, "/nowhere"), 2),
    (lambda link: link.open_file(1, "a"), wire.FileAnswer(1), 1),
]


@pytest.mark.parametrize(("ask", "answer", "count"), ASKED, ids=["spawn", "open_file"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "with"])
def test_whoever_hangs_up_leaves_no_descriptor(
    ask: Ask, answer: wire.Message, count: int, late: bool
) -> None:
    """Before the answer comes, or in the turn of the loop in which it comes."""

    async def scenario() -> None:
        ours, theirs = wire.pair()
        with theirs:
            link = SupervisorClient(ours, lambda event: None)
            caller = asyncio.create_task(ask(link))
            await asyncio.sleep(0)
            fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
            if not late:
                caller.cancel()
                await asyncio.sleep(0)
            link._on_message(answer, fds)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await caller
            assert caller.cancelled()
            link.close()
            for fd in fds:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fd)

    asyncio.run(scenario())


def test_a_message_that_cannot_be_sent_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ours, theirs = wire.pair()
        with theirs:
            link = SupervisorClient(ours, lambda event: None)
            removal = asyncio.create_task(link.remove_file(1, "x" * wire.PACKET_BYTES))
            await asyncio.sleep(0)
            link.send(wire.Ready())
            assert link.unsent == 0
            assert wire.receive(theirs) == (wire.Ready(), [])
            removal.cancel()
            link.close()

    asyncio.run(scenario())
    assert [record.getMessage() for record in caplog.records] == ["wire.unsent"]
