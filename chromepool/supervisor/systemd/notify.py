"""What is said to systemd, and what it hands over: sd_notify(3), sd_listen_fds_with_names(3).

Words go as datagrams to the socket that ``NOTIFY_SOCKET`` names. Without that variable nothing is
said. Nothing here raises or waits: a manager that does not listen must not stop the daemon.
"""

from __future__ import annotations

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
    """Speaks to the manager that started this process, if one did."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes its variables out of ``environ``: they are this process's, not its children's."""
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval = environ.pop("WATCHDOG_USEC", "")
        named = environ.pop("WATCHDOG_PID", "")
        self.watchdog_s = 0.0
        """How often at least the manager wants to hear :meth:`ping`; 0 is never."""
        if interval.isdecimal() and named in ("", str(os.getpid())):
            self.watchdog_s = int(interval) / 1e6
        self._socket: socket.socket | None = None
        self._said = ""
        if self._address:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @property
    def listened_to(self) -> bool:
        """Whether there is a manager."""
        return self._socket is not None

    def ready(self) -> bool:
        """The start, or a reload, is complete."""
        return self._send("READY=1")

    def reloading(self) -> bool:
        """A reload begins; :meth:`ready` ends it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self) -> bool:
        """The end begins."""
        return self._send("STOPPING=1")

    def status(self, text: str) -> bool:
        """One line for people; one that was said last is not said again."""
        line = " ".join(text.split())
        if line == self._said:
            return True
        self._said = line
        return self._send(f"STATUS={line}")

    def ping(self) -> bool:
        """Still well."""
        return self._send("WATCHDOG=1")

    def store(self, name: str, fds: Sequence[int], *, poll: bool = True) -> bool:
        """Leaves copies of descriptors with the manager, for the next life to get by
        :func:`listen_fds`. With ``poll`` it drops those whose other end hangs up.

        A name has up to 255 printable ASCII letters and no colon (ValueError).
        """
        words = ["FDSTORE=1", f"FDNAME={_checked(name)}", *([] if poll else ["FDPOLL=0"])]
        return self._send(*words, fds=fds)

    def remove(self, name: str) -> bool:
        """Has the manager close all that was left under this name."""
        return self._send("FDSTOREREMOVE=1", f"FDNAME={_checked(name)}")

    def close(self) -> None:
        """Says nothing more. May be called twice."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _send(self, *words: str, fds: Sequence[int] = ()) -> bool:
        """Whether it was said; False too when there is nobody to say it to."""
        if self._socket is None:
            return False
        try:
            # Not socket.send_fds: it leaves the address out (Python 3.11).
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            passed = [rights] if fds else []
            self._socket.sendmsg(["\n".join(words).encode()], passed, 0, self._address)
        except OSError as error:  # EAGAIN: the manager is behind; it may miss this word
            log.warning("notify.unsent", word=words[0], error=error)
            return False
        return True


def _checked(name: str) -> str:
    if not (0 < len(name) <= _LONGEST_NAME and name.isascii() and name.isprintable()):
        raise ValueError(f"{name!r} is no name for a descriptor")
    if ":" in name:
        raise ValueError(f"{name!r} has a colon")
    return name


def listen_fds(environ: MutableMapping[str, str]) -> dict[str, list[int]]:
    """The descriptors this process was started with, by name: listening sockets, and what an
    earlier life stored. Children do not inherit them, nor the variables that tell of them."""
    named_pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if named_pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[int]] = {}
    for number in range(int(count)):
        fd = _FIRST_FD + number
        with contextlib.suppress(OSError):  # EBADF: promised, and not there
            os.set_inheritable(fd, False)
            name = names[number] if number < len(names) and names[number] else "unknown"
            found.setdefault(name, []).append(fd)
    return found
