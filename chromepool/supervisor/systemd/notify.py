"""Notifications to systemd, and what it passes: sd_notify(3), sd_listen_fds_with_names(3).

Notifications are datagrams to the socket that ``NOTIFY_SOCKET`` names; without that variable none
is sent. Nothing here raises or waits: a manager that does not read must not stop the daemon.
"""

import array
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping, Sequence

from chromepool.logs import Log

log = Log("chromepool.supervisor")

_FIRST_FD = 3
_LONGEST_NAME = 255


class Notifier:
    """A client of the manager that started this process, if one did: notifies it, stores fds."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take its variables out of ``environ``: they are for this process, not its children."""
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval = environ.pop("WATCHDOG_USEC", "")
        named = environ.pop("WATCHDOG_PID", "")
        self.watchdog_s = 0.0
        """Longest pause the manager allows between two calls of :meth:`ping`; 0 is any."""
        if interval.isdecimal() and named in ("", str(os.getpid())):
            self.watchdog_s = int(interval) / 1e6
        self._last_status = ""
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_UNIX, kind) if address else None

    @property
    def connected(self) -> bool:
        """True if there is a manager to notify."""
        return self._socket is not None

    def ready(self) -> bool:
        """Notify that the start, or a reload, is complete."""
        return self._send("READY=1")

    def reloading(self) -> bool:
        """Notify that a reload begins, which :meth:`ready` ends."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self) -> bool:
        """Notify that the daemon stops."""
        return self._send("STOPPING=1")

    def status(self, text: str) -> bool:
        """Set the status line, unless it is what was set last."""
        line = " ".join(text.split())
        if line == self._last_status:
            return True
        self._last_status = line
        return self._send(f"STATUS={line}")

    def ping(self) -> bool:
        """Keep the watchdog quiet."""
        return self._send("WATCHDOG=1")

    def store(self, name: str, fds: Sequence[int], *, poll: bool = True) -> bool:
        """Leave copies of descriptors with the manager, for the next process's :func:`listen_fds`.

        With ``poll`` the manager drops those whose other end hangs up. Raises ValueError.
        """
        words = ["FDSTORE=1", f"FDNAME={_checked(name)}", *([] if poll else ["FDPOLL=0"])]
        return self._send(*words, fds=fds)

    def remove(self, name: str) -> bool:
        """Have the manager close everything that was left under this name."""
        return self._send("FDSTOREREMOVE=1", f"FDNAME={_checked(name)}")

    def close(self) -> None:
        """Send nothing more. May be called twice."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self, *words: str, fds: Sequence[int] = ()) -> bool:
        """Return whether it was sent; False too where there is no manager."""
        if self._socket is None:
            return False
        try:
            # Not socket.send_fds, which leaves the address out (python/cpython#107898).
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            passed = [rights] if fds else []
            self._socket.sendmsg(["\n".join(words).encode()], passed, 0, self._address)
        except OSError as error:  # EAGAIN: the manager lags
            log.warning("notification.dropped", message=words[0], error=error)
            return False
        return True


def _checked(name: str) -> str:
    if not (0 < len(name) <= _LONGEST_NAME and name.isascii() and name.isprintable()):
        raise ValueError(f"{name!r} is not a valid name of a descriptor")
    if ":" in name:
        raise ValueError(f"{name!r} has a colon, which separates names")
    return name


def listen_fds(environ: MutableMapping[str, str]) -> dict[str, list[int]]:
    """Return the descriptors this process was started with, by name: sockets, and stored ones.

    Children inherit neither them nor the variables that announce them.
    """
    named_pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if named_pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[int]] = {}
    for number in range(int(count)):
        fd = _FIRST_FD + number
        with contextlib.suppress(OSError):  # EBADF: announced, and not there
            os.set_inheritable(fd, False)
            name = names[number] if number < len(names) and names[number] else "unknown"
            found.setdefault(name, []).append(fd)
    return found
