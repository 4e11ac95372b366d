"""The surroundings that most parts of the gateway need and none of them owns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from chromepool.config import Settings
from chromepool.gateway.bus import EventBus
from chromepool.gateway.event_stream import EventStream
from chromepool.gateway.supervisor import SupervisorClient
from chromepool.gateway.tasks import Tasks
from chromepool.model import Host


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
