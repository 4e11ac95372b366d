"""Persistent scripts: JavaScript for every new document of a session, in the order it was added."""

from __future__ import annotations

import dataclasses

from chromepool.errors import InvalidRequest, ScriptExists, ScriptNotFound, StoreFull


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """One script."""

    name: str
    source: str
    world: str = ""
    """Name of an isolated world to run in; empty: the page's own."""


class Scripts:
    """A session's scripts by name. Raises when there would be too many, or one is too long."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._scripts: dict[str, Script] = {}

    def all(self) -> list[Script]:
        """In the order in which they run."""
        return list(self._scripts.values())

    def get(self, name: str) -> Script:
        """The script of this name; raises :class:`ScriptNotFound`."""
        if name not in self._scripts:
            raise ScriptNotFound(f"There is no script {name!r}.")
        return self._scripts[name]

    def add(self, script: Script) -> None:
        """A new one, last in the order. Raises :class:`ScriptExists`, :class:`StoreFull`."""
        if script.name in self._scripts:
            raise ScriptExists(f"There is a script {script.name!r}.", remedy="Replace it with PUT.")
        self.put(script)

    def put(self, script: Script) -> bool:
        """One in the place of that of its name, or a new one (True). Raises :class:`StoreFull`,
        :class:`InvalidRequest`."""
        size = len(script.source.encode(errors="surrogatepass"))
        if size > self._most_bytes:
            raise InvalidRequest(
                f"The script has {size} bytes, and {self._most_bytes} is the most.",
                remedy="Have max_script_bytes raised, or load the rest from the script.",
            )
        new = script.name not in self._scripts
        if new and len(self._scripts) >= self._most:
            raise StoreFull(
                f"The session has {self._most} scripts, and that is the most.",
                remedy="Remove or replace one, or have max_scripts raised.",
            )
        self._scripts[script.name] = script
        return new

    def remove(self, name: str) -> Script:
        """Takes one out; raises :class:`ScriptNotFound`."""
        script = self.get(name)
        del self._scripts[name]
        return script
