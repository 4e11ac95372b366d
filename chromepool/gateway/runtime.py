"""The surroundings that most parts of the gateway need and none of them owns."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from chromepool.config import Settings
from chromepool.gateway.event_stream import EventStream
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.model import Host

E = TypeVar("E")


class EventBus:
    """Hands each event to the subscribers of its very type, at once, in the order they subscribed.
    Only ``gateway/main.py`` adds subscribers, so that one page shows who reacts to what."""

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[Any], None]]] = {}

    def subscribe(self, kind: type[E], *handlers: Callable[[E], None]) -> None:
        """Call the handlers with every event of this type from now on."""
        self._handlers.setdefault(kind, []).extend(handlers)

    def publish(self, event: object) -> None:
        """Call the subscribers of the event's type."""
        for handler in self._handlers.get(type(event), ()):
            handler(event)


class Tasks:
    """Keeps tasks alive until they end: the event loop itself holds only weak references. An
    exception of a task goes to the loop's exception handler, which logs it."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in the background."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def is_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until an event is set, up to ``timeout_s`` seconds; False if it is not set by then."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return event.is_set()


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """The surroundings of one gateway, fixed for its life: a reload starts another gateway."""

    settings: Settings
    host: Host
    """The machine as the supervisor found it."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    bus: EventBus
    """Typed events between the parts of the gateway."""
    events: EventStream
    """Numbered events for people and programs."""
    supervisor: SupervisorClient
    tasks: Tasks
    """Work in the background."""
