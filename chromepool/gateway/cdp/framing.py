"""Messages on Chrome's pipe: JSON texts, each ended by one NUL (``--remote-debugging-pipe``)."""

from __future__ import annotations

from chromepool.errors import BrowserGone

LONGEST_BYTES = 256 * 1024 * 1024
"""A message beyond this ends the session: Chrome itself sends nothing near it."""


class Splitter:
    """Cuts what is read from the pipe into messages."""

    def __init__(self, *, amid: bool = False) -> None:
        """``amid``: it may begin in the middle of a message; all up to the first NUL is dropped."""
        self._parts: list[bytes] = []
        self._held = 0
        self._amid = amid

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes; raises :class:`BrowserGone` for an endless one."""
        *whole, rest = data.split(b"\0")
        if whole and self._parts:
            self._parts.append(whole[0])
            whole[0] = b"".join(self._parts)
            self._parts.clear()
            self._held = 0
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
            if self._held > LONGEST_BYTES:
                raise BrowserGone(f"Chrome sent a message of over {LONGEST_BYTES} bytes.")
        if self._amid and whole:
            self._amid = False
            return whole[1:]
        return whole
