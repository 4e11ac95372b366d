"""Which targets clients have paused, as far as the daemon sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PausedTargets:
    """The CDP sessions whose targets wait for them. Empty where nobody pauses anything."""

    def __init__(self) -> None:
        self.targets: dict[bytes, str] = {}
        """Target ids by session."""
        self._tabs: set[bytes] = set()
        self.on_release: Callable[[], None] = lambda: None
        """Told that a session holds its target no more; what that leads to may not be written to
        Chrome yet."""

    def add(self, session: bytes, info: dict[str, Any]) -> None:
        """A target (CDP's ``TargetInfo``) waits for this session."""
        self.targets[session] = str(info.get("targetId"))
        if info.get("type") == "tab":
            self._tabs.add(session)

    def remove(self, session: bytes) -> None:
        """It has let its target go, or is no more."""
        if self.targets.pop(session, None) is not None:
            self._tabs.discard(session)
            self.on_release()

    def of(self, target: str) -> set[bytes]:
        """The sessions that hold a target."""
        return {session for session, held in self.targets.items() if held == target}

    def of_tabs(self) -> set[bytes]:
        """The sessions that hold tabs. Nothing that Chrome says of a tab tells its page."""
        return set(self._tabs)
