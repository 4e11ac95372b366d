"""Profile folders: new ones that end with their session, and kept ones that wait for the next."""

import contextlib
import os
import subprocess
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import InvalidRequest, ProfileInUse, StartFailed
from chromepool.supervisor.linux.uids import Uids

_SINGLETONS = ("SingletonLock", "SingletonCookie", "SingletonSocket")
"""Chrome's own lock: links that name host and pid, and stay behind a Chrome that was killed."""


class Profiles:
    """The profile folders: makes them, gives each a uid, and locks the kept ones in use.

    A kept profile has a uid for good, so no file has to change hands. The lock is in memory, where
    every Chrome's end is known: whatever ends a session ends its lock.
    """

    def __init__(self, settings: Settings, uids: Uids | None) -> None:
        self._folder = settings.profiles_dir
        self._kept_folder = settings.kept_profiles_dir
        self._uids = uids
        self._in_use: set[str] = set()
        for folder in self._kept_folder.glob("*/*"):
            if uids is not None and not uids.reserve(folder.lstat().st_uid):
                uid = uids.take()  # it was copied here, or the range was moved
                argv = ["/bin/chown", "-hR", "--", f"{uid}:{uid}", str(folder)]
                subprocess.run(argv, check=True)  # before the loop, so it may take its time

    def restore(self, kept: str, uid: int | None) -> None:
        """Reserve the uid and the kept profile of a session of an earlier daemon."""
        if kept:
            self._in_use.add(kept)  # its uid is reserved already
        elif self._uids is not None and uid is not None:
            self._uids.reserve(uid)

    def open(self, name: str, kept: str, most: int) -> tuple[Path, int | None]:
        """Return a session's folder and uid: a new one, or ``kept``, an ``owner/name``, locked.

        That is made where there is none and its owner has fewer than ``most``. Raises ProfileInUse,
        InvalidRequest, StartFailed, OSError.
        """
        if kept:
            return self._open_kept(kept, most)
        folder = self._folder / name
        return folder, self._make(folder)

    def _make(self, folder: Path) -> int | None:
        uid = self._uids.take() if self._uids else None
        try:
            folder.mkdir(mode=0o700)
            if uid is not None:
                os.chown(folder, uid, uid)
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            self.release("", uid)
            raise
        return uid

    def _open_kept(self, name: str, most: int) -> tuple[Path, int | None]:
        if name in self._in_use:
            raise ProfileInUse(
                f"The profile {name.partition('/')[2]!r} is used by another session.",
                remedy="End that session first: only one Chrome can use a profile at a time.",
            )
        folder = self._kept_folder / name
        if not folder.exists():
            self._make_kept(folder, most)
        for singleton in _SINGLETONS:
            with contextlib.suppress(FileNotFoundError):
                (folder / singleton).unlink()
        owner = folder.stat().st_uid
        if self._uids is None and owner != os.geteuid():
            raise StartFailed(
                f"The profile {name!r} belongs to another user (uid {owner}).",
                remedy="Run the daemon as root, or as that user.",
            )
        self._in_use.add(name)
        return folder, None if self._uids is None else owner

    def _make_kept(self, folder: Path, most: int) -> None:
        owners = folder.parent
        if not owners.exists():
            owners.mkdir()
            owners.chmod(0o711)
        elif len(list(owners.iterdir())) >= most:
            raise InvalidRequest(
                f"The owner has {most} kept profiles already.",
                remedy="Use one of those, or have the operator raise kept_profiles.",
            )

        self._make(folder)

    def release(self, kept: str, uid: int | None) -> None:
        """Let another session use the kept profile, or the uid; its last process is gone."""
        if kept:
            self._in_use.discard(kept)
        elif self._uids is not None and uid is not None:
            self._uids.free(uid)
