"""Typed events inside the gateway: from the part that knows to the parts that subscribed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Event = TypeVar("Event")


class EventBus:
    """Hands each event to the subscribers of its very type, at once, in the order they subscribed.

    Subscribers are added in ``gateway/main.py`` only, so that one page shows who reacts to what.
    """

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[Any], None]]] = {}

    def subscribe(self, kind: type[Event], handler: Callable[[Event], None]) -> None:
        """Call ``handler`` with every event of this type from now on."""
        self._handlers.setdefault(kind, []).append(handler)

    def publish(self, event: object) -> None:
        """Call the subscribers of the event's type."""
        for handler in self._handlers.get(type(event), ()):
            handler(event)
