"""Signals as events of the loop: the handler does nothing, a socket queues, the loop acts."""

import selectors
import signal
import socket
from collections.abc import Callable

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGCHLD only has to wake the loop, which reaps at every turn."""


class Signals:
    """A socket in the selector that becomes readable at a signal, until it is closed."""

    def __init__(self, selector: selectors.BaseSelector, on_signal: Callable[[int], None]) -> None:
        self._on_signal = on_signal
        self._read, self._wakeup = socket.socketpair()
        self._read.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        selector.register(self._read, selectors.EVENT_READ, self._on_readable)

    def _on_readable(self, _: int) -> None:
        for number in self._read.recv(4096):
            self._on_signal(number)

    def close(self) -> None:
        """Have signals do nothing at all."""
        signal.set_wakeup_fd(-1)
        self._read.close()
        self._wakeup.close()
