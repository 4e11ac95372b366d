"""Messages on Chrome's pipe: JSON texts, each followed by a NUL (``--remote-debugging-pipe``).

https://source.chromium.org/chromium/chromium/src/+/main:content/browser/devtools/devtools_pipe_handler.cc
"""

from chromepool.errors import BrowserGone

LONGEST_BYTES = 256 * 1024 * 1024
"""Limit of one message; a longer one ends the session. Chrome sends nothing close to it."""


class Splitter:
    """Cuts the bytes that are read from the pipe into messages."""

    def __init__(self, *, amid: bool = False) -> None:
        """``amid`` drops everything up to the first NUL: reading may begin within a message."""
        self._parts: list[bytes] = []
        self._held = 0
        self._amid = amid

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that ``data`` completes; raises :class:`BrowserGone` at the limit."""
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
