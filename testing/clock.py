"""Made-up time: a clock that is set by hand, and a loop whose time passes only while all wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        self.now += max(0.0, timeout)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time leaps to the next timer as soon as nothing else is to be done."""

    def __init__(self) -> None:
        self._made_up = _Selector()
        super().__init__(self._made_up)

    def time(self) -> float:
        return self._made_up.now


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on such a loop; an exception that nobody handles fails the test as well."""
    unhandled: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        runner.run(main)
    assert not unhandled


async def settle() -> None:
    """Lets tasks run until each waits for something."""
    for _ in range(8):
        await asyncio.sleep(0)
