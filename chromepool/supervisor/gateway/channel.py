"""The supervisor's end of the wire: never blocks, whatever the gateway does."""

from __future__ import annotations

import collections
import os
import socket

from chromepool import wire
from chromepool.errors import WireError

_QUEUE = 4096
"""Messages kept for a gateway that does not read. Past that it counts as dead."""


class Channel:
    """A socket with a bounded queue of messages that wait to be sent."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._queue: collections.deque[tuple[wire.Message, tuple[int, ...]]] = collections.deque()

    @property
    def lagging(self) -> bool:
        """Whether messages wait, so that writability is worth waiting for."""
        return bool(self._queue)

    def send(self, message: wire.Message, fds: tuple[int, ...] = ()) -> None:
        """Sends or queues; ``fds`` are closed once they are on their way, or never will be.

        Raises OSError when the gateway is gone or does not read at all.
        """
        if len(self._queue) >= _QUEUE:
            for fd in fds:
                os.close(fd)
            raise BrokenPipeError("the gateway does not read its wire")
        self._queue.append((message, fds))
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes. Raises OSError when the gateway is gone, :class:`WireError`
        for a message that is too long, which is dropped."""
        while self._queue:
            message, fds = self._queue[0]
            try:
                wire.send(self.sock, message, fds)
            except BlockingIOError:
                return
            except WireError:  # too long, now and later
                self._drop_first()
                raise
            self._drop_first()

    def _drop_first(self) -> None:
        _, fds = self._queue.popleft()
        for fd in fds:
            os.close(fd)

    def receive(self) -> tuple[wire.Message, list[int]] | None:
        """The next message and its descriptors, the caller's to close; None at the end."""
        return wire.receive(self.sock)

    def close(self) -> None:
        """Closes the socket and the descriptors that were still to be sent."""
        for _, fds in self._queue:
            for fd in fds:
                os.close(fd)
        self._queue.clear()
        self.sock.close()
