"""The daemon's folders: runtime, state, profiles, and the history's, which is the gateway's."""

import os
import stat
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError
from chromepool.logs import Log

log = Log("chromepool.supervisor")

_HISTORY_MODE = 0o700
"""Only the gateway may read it: a session id, and the history has all, is enough to drive one."""


def make_folders(settings: Settings) -> None:
    """Make the missing folders, and check who owns each. Raises :class:`HostError`."""
    for folder, mode in (
        (Path(settings.runtime_dir), 0o755),
        (Path(settings.state_dir), 0o711),  # sessions' uids may pass through, but not read
        (settings.profiles_dir, 0o711),
        (settings.kept_profiles_dir, 0o711),
    ):
        try:
            if not folder.exists():  # an existing one keeps its mode: it may be a home folder
                folder.mkdir(parents=True)
                folder.chmod(mode)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                # In /tmp any user could have made it first, and would own what is put into it.
                raise HostError(
                    f"{folder} belongs to another user.",
                    remedy="Set --runtime-dir and --state-dir to folders of the daemon's user.",
                )
        except OSError as error:
            raise HostError(
                f"{folder} cannot be used: {error.strerror}.",
                remedy="Make it accessible, or set --runtime-dir and --state-dir.",
            ) from error


def make_history_folder(settings: Settings) -> None:
    """Make the history's folder, or give it to the gateway's user; a failure is only logged."""
    if not settings.journal:
        return
    folder = settings.history_dir
    try:
        folder.mkdir(mode=_HISTORY_MODE, exist_ok=True)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give_folder(fd, settings.gateway_uid if os.geteuid() == 0 else os.geteuid())
        finally:
            os.close(fd)
    except OSError as error:
        log.error("journal.folder_failed", path=folder, error=error.strerror)


def _give_folder(folder: int, uid: int) -> None:
    owner = os.fstat(folder).st_uid
    os.fchmod(folder, _HISTORY_MODE)
    if owner == uid:
        return
    os.fchown(folder, uid, uid)
    for name in os.listdir(folder):  # of an earlier daemon, whose gateway had another uid
        _give_file(folder, name, owner, uid)


def _give_file(folder: int, name: str, owner: int, uid: int) -> None:
    """Give away a file if it was ``owner``'s, who could have linked files of others here."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == owner:
            os.fchown(fd, uid, uid)
    finally:
        os.close(fd)
