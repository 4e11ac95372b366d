"""Profile folders: new ones that end with their session, and kept ones that wait for the next."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import InvalidRequest, ProfileInUse, StartFailed
from chromepool.supervisor.linux.uids import Uids

_SINGLETONS = ("SingletonLock", "SingletonCookie", "SingletonSocket")
"""Chrome's own lock: links that name host and pid, and stay behind a Chrome that was killed."""


class Profiles:
    """The profile folders: makes them, gives each a uid, and locks the kept ones in use.

    A kept profile has a uid for good: no other session ever runs as it, so no file has to change
    hands. The lock is in memory, where every Chrome's end is known, and not in a file: whatever
    ends a session ends its lock.
    """

    def __init__(self, settings: Settings, uids: Uids | None) -> None:
        self._folder = settings.profiles_dir
        self._kept_folder = settings.kept_profiles_dir
        self._uids = uids
        self._in_use: set[str] = set()
        if uids is not None:
            self._reserve_uids(uids)

    def _reserve_uids(self, uids: Uids) -> None:
        """Take the kept profiles' uids out of the range. It runs before the loop, so chown may take
        its time."""
        for folder in self._kept_folder.glob("*/*"):
            uid = folder.lstat().st_uid
            if not uids.reserve(uid):  # it was copied here, or the range was moved
                uid = uids.take()
                argv = ["/bin/chown", "-hR", "--", f"{uid}:{uid}", str(folder)]
                subprocess.run(argv, check=True)

    def make(self, name: str) -> tuple[Path, int | None]:
        """Return a new folder and its uid. Raises OSError, :class:`StartFailed`."""
        uid = self._uids.take() if self._uids else None
        folder = self._folder / name
        try:
            self._make(folder, uid)
        except OSError:
            self.free_uid(uid)
            raise
        return folder, uid

    def restore(self, kept: str, uid: int | None) -> None:
        """Reserve the uid and the kept profile of a session of an earlier daemon."""
        if kept:
            self._in_use.add(kept)  # its uid is reserved already
        elif self._uids is not None and uid is not None:
            self._uids.reserve(uid)

    @staticmethod
    def _make(folder: Path, uid: int | None) -> None:
        folder.mkdir(mode=0o700)
        if uid is not None:
            os.chown(folder, uid, uid)

    def open_kept(self, name: str, most: int) -> tuple[Path, int | None]:
        """Return the kept folder ``owner/name`` and its uid, locked until :meth:`unlock`.

        It is made where there is none and its owner has fewer than ``most``. Raises
        :class:`ProfileInUse`, :class:`InvalidRequest`, :class:`StartFailed`, OSError.
        """
        if name in self._in_use:
            raise ProfileInUse(
                f"The profile {name.partition('/')[2]!r} is used by another session.",
                remedy="End that session first: only one Chrome can use a profile at a time.",
            )
        folder = self._kept_folder / name
        if not folder.exists():
            self._check_number(folder.parent, most)
            self._make_kept(folder)
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

    @staticmethod
    def _check_number(owners: Path, most: int) -> None:
        if owners.exists() and len(list(owners.iterdir())) >= most:
            raise InvalidRequest(
                f"The owner has {most} kept profiles already.",
                remedy="Use one of those, or have the operator raise kept_profiles.",
            )

    def _make_kept(self, folder: Path) -> None:
        if not folder.parent.exists():
            folder.parent.mkdir()
            folder.parent.chmod(0o711)
        uid = self._uids.take() if self._uids else None
        try:
            self._make(folder, uid)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            self.free_uid(uid)
            raise

    def unlock(self, name: str) -> None:
        """Let another session use a kept profile; its last process is gone."""
        self._in_use.discard(name)

    def free_uid(self, uid: int | None) -> None:
        """Let another session have a uid; its last process and file are gone."""
        if self._uids is not None and uid is not None:
            self._uids.free(uid)
