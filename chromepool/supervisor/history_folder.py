"""The folder of the journal: the one place on disk where the gateway may write."""

from __future__ import annotations

import os
import stat

from chromepool.config import Settings
from chromepool.logs import Log

log = Log("chromepool.supervisor")

_MODE = 0o700
"""Sessions' ids are in the journal, and who has one may drive its session: the gateway only."""


def make_journal_folder(settings: Settings) -> None:
    """Makes it, or makes it the gateway's. A daemon without a journal is better than none: what
    goes wrong is only logged."""
    if not settings.journal:
        return
    folder = settings.history_dir
    try:
        folder.mkdir(mode=_MODE, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give(fd, settings.gateway_uid if os.geteuid() == 0 else os.geteuid())
        finally:
            os.close(fd)
    except OSError as error:
        log.error("journal.folder_failed", path=folder, error=error.strerror)


def _give(folder: int, uid: int) -> None:
    before = os.fstat(folder).st_uid
    os.fchmod(folder, _MODE)
    if before == uid:
        return
    os.fchown(folder, uid, uid)
    for name in os.listdir(folder):  # of an earlier life, whose gateway had another uid
        _give_file(folder, name, before, uid)


def _give_file(folder: int, name: str, before: int, uid: int) -> None:
    """Only a file that was the earlier gateway's: it could have made links to others' here."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == before:
            os.fchown(fd, uid, uid)
    finally:
        os.close(fd)
