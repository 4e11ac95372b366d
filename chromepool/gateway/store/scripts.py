"""Persistent scripts: JavaScript that runs in every new document of a session."""

import dataclasses

from chromepool.errors import InvalidRequest, ScriptExists, ScriptNotFound, StoreFull


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A persistent script."""

    name: str
    source: str
    world: str = ""
    """Name of an isolated world to run in; empty for the page's own."""


class Scripts:
    """A session's scripts by name, bounded in number and length, in the order of their adding."""

    def __init__(self, max_scripts: int, max_bytes: int) -> None:
        self._max_scripts = max_scripts
        self._max_bytes = max_bytes
        self._scripts: dict[str, Script] = {}

    def all(self) -> list[Script]:
        """Return the scripts in their order."""
        return list(self._scripts.values())

    def get(self, name: str) -> Script:
        """Return the script of this name; raises :class:`ScriptNotFound`."""
        if name not in self._scripts:
            raise ScriptNotFound(f"There is no script {name!r}.")
        return self._scripts[name]

    def add(self, script: Script) -> None:
        """Add a script at the end. Raises :class:`ScriptExists`, and what :meth:`put` raises."""
        if script.name in self._scripts:
            raise ScriptExists(
                f"A script {script.name!r} exists already.", remedy="Replace it with PUT."
            )
        self.put(script)

    def put(self, script: Script) -> bool:
        """Replace the script of the same name, or add one at the end; return whether it is new.
        Raises :class:`StoreFull`, :class:`InvalidRequest`."""
        size = len(script.source.encode(errors="surrogatepass"))
        if size > self._max_bytes:
            raise InvalidRequest(
                f"The script has {size} bytes; the limit is {self._max_bytes} bytes.",
                remedy="Have the operator raise max_script_bytes, or let the script load the rest.",
            )
        new = script.name not in self._scripts
        if new and len(self._scripts) >= self._max_scripts:
            raise StoreFull(
                f"The session has {self._max_scripts} scripts, which is the limit.",
                remedy="Remove or replace one, or have the operator raise max_scripts.",
            )
        self._scripts[script.name] = script
        return new

    def remove(self, name: str) -> None:
        """Remove a script; raises :class:`ScriptNotFound`."""
        self.get(name)
        del self._scripts[name]
