"""Targets that clients keep paused, as far as the daemon can see."""

from collections.abc import Callable
from typing import Any


class PausedTargets:
    """CDP sessions whose targets wait for them (``waitForDebuggerOnStart``). Mostly empty."""

    def __init__(self) -> None:
        self.targets: dict[bytes, str] = {}
        """Target ids by session."""
        self._tabs: set[bytes] = set()
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, on_release: Callable[[], None]) -> None:
        """Have ``on_release`` called after each release, before Chrome may have got the command."""
        self._listeners.append(on_release)

    def unsubscribe(self, on_release: Callable[[], None]) -> None:
        """Undo :meth:`subscribe`."""
        self._listeners.remove(on_release)

    def add(self, session: bytes, info: dict[str, Any]) -> None:
        """Note that a target (CDP's ``TargetInfo``) waits for this session."""
        self.targets[session] = str(info.get("targetId"))
        if info.get("type") == "tab":
            self._tabs.add(session)

    def remove(self, session: bytes) -> None:
        """Note that a session has released its target, or has ended."""
        if self.targets.pop(session, None) is not None:
            self._tabs.discard(session)
            for on_release in self._listeners:
                on_release()

    def of(self, target: str) -> set[bytes]:
        """Return the sessions that keep a target paused."""
        return {session for session, paused in self.targets.items() if paused == target}

    def of_tabs(self) -> set[bytes]:
        """Return the sessions that keep tabs paused. CDP does not name the page of a tab."""
        return set(self._tabs)
