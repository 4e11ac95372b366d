"""Locks that keep two daemons from sharing a folder or a range of uids."""

import fcntl
import os
import time
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError

_WAIT_S = 0.5
"""Time to wait for a folder's lock: a guardian takes it for a moment, to see if it is free."""
_POLL_S = 0.01
_UID_LOCK = "/run/chromepool-uids.lock"


def lock_path(folder: str) -> Path:
    """Return the path of a folder's lock file."""
    return Path(folder) / "lock"


def lock_folder(folder: str) -> int:
    """Lock a folder for this daemon until the returned descriptor is closed.

    Raises :class:`HostError` where another daemon has the lock, OSError where there is no folder.
    """
    fd = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _WAIT_S
    while not try_lock(fd):
        if time.monotonic() > deadline:
            os.close(fd)
            raise HostError(
                f"Another chromepool uses {folder}.",
                remedy="Stop it, or give this one a --runtime-dir and a --state-dir of its own.",
            )
        time.sleep(_POLL_S)
    return fd


def try_lock(fd: int) -> bool:
    """Lock an open file if it is free, and return whether it was."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_uids(settings: Settings) -> int:
    """Lock the uids of sessions and gateway (root only) until the returned descriptor is closed.

    Sessions of two daemons with one uid could read and signal each other. Raises HostError.
    """
    fd = os.open(_UID_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The file stays empty: byte N of it is locked for uid N.
        for first, count in ((settings.uid_base, settings.uid_count), (settings.gateway_uid, 1)):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
    except OSError:
        os.close(fd)
        last = settings.uid_base + settings.uid_count - 1
        raise HostError(
            f"Another chromepool uses uids {settings.uid_base} to {last}, or the gateway's"
            f" {settings.gateway_uid}.",
            remedy="Give this one others: --uid-base, --uid-count and --gateway-uid.",
        ) from None
    return fd
