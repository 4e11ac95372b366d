"""An end of the wire, with a queue of messages that its other end has not taken yet."""

import collections
import os
import socket

from chromepool import wire
from chromepool.errors import WireError

Packet = tuple[wire.Message, tuple[int, ...]]
"""A message and the descriptors that go with it."""
MOST_UNSENT = 4096
"""Messages the supervisor queues: minutes of a busy pool. A gateway that lags further hangs."""


class Channel:
    """A non-blocking socket of the wire that can be sent to, read and closed at any moment."""

    def __init__(self, sock: socket.socket, *, most_unsent: float = MOST_UNSENT) -> None:
        """Take over ``sock``. More than ``most_unsent`` messages are refused."""
        sock.setblocking(False)
        self.sock = sock
        self._most_unsent = most_unsent
        self._queue: collections.deque[Packet] = collections.deque()

    @property
    def unsent(self) -> int:
        """Number of queued messages: above 0 the caller calls :meth:`flush` on writability."""
        return len(self._queue)

    def queue(self, message: wire.Message, fds: tuple[int, ...] = ()) -> None:
        """Queue a message. ``fds`` are closed once they are sent, or cannot be.

        Raises BrokenPipeError where too many messages are queued already.
        """
        self._queue.append((message, fds))
        if len(self._queue) > self._most_unsent:
            for fd in self._queue.pop()[1]:
                os.close(fd)
            raise BrokenPipeError("the other end does not read its wire")

    def send(self, message: wire.Message, fds: tuple[int, ...] = ()) -> None:
        """Queue a message as :meth:`queue` does, and flush."""
        self.queue(message, fds)
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes.

        Raises OSError where the other end is gone or the kernel refuses the descriptors, and
        :class:`WireError` for a message that is too long. That message is dropped: no later
        attempt would fare better, and those behind it must not wait for ever.
        """
        while self._queue:
            try:
                wire.send(self.sock, *self._queue[0])
            except BlockingIOError:
                return
            except (OSError, WireError):
                self._drop_first()
                raise
            self._drop_first()

    def _drop_first(self) -> None:
        for fd in self._queue.popleft()[1]:
            os.close(fd)

    def receive(self) -> tuple[wire.Message, list[int]] | None:
        """Return the next message and its descriptors, the caller's to close; None at the end."""
        return wire.receive(self.sock)

    def close(self) -> None:
        """Close the socket and the descriptors that are still queued. May be called twice."""
        while self._queue:
            self._drop_first()
        self.sock.close()
