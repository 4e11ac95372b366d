"""Profile folders: one that goes with its session, or a kept one that waits for the next."""

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
"""Chrome's own lock: a link to host and pid, which outlives a Chrome that was killed."""


class Profiles:
    """Makes folders, owns the locks of the kept ones, and knows which uid each belongs to.

    A kept profile has a uid for good: no other session, now or later, runs as it, so no file has
    to change hands. The lock is held here, where every Chrome's end is known, and not in a file:
    whatever ends a session ends its lock.
    """

    def __init__(self, settings: Settings, uids: Uids | None) -> None:
        self._passing, self._kept = settings.profiles_dir, settings.kept_profiles_dir
        self._uids = uids
        self._in_use: set[str] = set()
        if uids is not None:
            self._reserve_uids(uids)

    def _reserve_uids(self, uids: Uids) -> None:
        """Runs before the loop, so it may wait for chown."""
        for folder in self._kept.glob("*/*"):
            uid = folder.lstat().st_uid
            if not uids.reserve(uid):  # it was copied here, or the range was moved
                uid = uids.take()
                argv = ["/bin/chown", "-hR", "--", f"{uid}:{uid}", str(folder)]
                subprocess.run(argv, check=True)

    def make(self, name: str) -> tuple[Path, int | None]:
        """A new folder and its uid. Raises OSError, :class:`StartFailed`."""
        uid = self._uids.take() if self._uids else None
        folder = self._passing / name
        try:
            self._make(folder, uid)
        except OSError:
            self.free_uid(uid)
            raise
        return folder, uid

    def take_back(self, kept: str, uid: int | None) -> None:
        """A session of an earlier life goes on: its uid and its kept profile stay its own."""
        if kept:
            self._in_use.add(kept)  # whose uid is reserved already
        elif self._uids is not None and uid is not None:
            self._uids.reserve(uid)

    @staticmethod
    def _make(folder: Path, uid: int | None) -> None:
        folder.mkdir(mode=0o700)
        if uid is not None:
            os.chown(folder, uid, uid)

    def keep(self, name: str, most: int) -> tuple[Path, int | None]:
        """The kept folder ``owner/name``, made if need be, locked until :meth:`unlock`. An owner
        may have ``most``.

        Raises :class:`ProfileInUse`, :class:`InvalidRequest`, :class:`StartFailed`, OSError.
        """
        if name in self._in_use:
            raise ProfileInUse(
                f"The profile {name.partition('/')[2]!r} is used by another session.",
                remedy="End that session first: a profile is one Chrome's at a time.",
            )
        folder = self._kept / name
        if not folder.exists():
            self._check_number(folder.parent, most)
            self._make_kept(folder)
        for singleton in _SINGLETONS:
            with contextlib.suppress(FileNotFoundError):
                (folder / singleton).unlink()
        owner = folder.stat().st_uid
        if self._uids is None and owner != os.geteuid():
            raise StartFailed(f"The profile {name!r} belongs to another user (uid {owner}).")
        self._in_use.add(name)
        return folder, None if self._uids is None else owner

    @staticmethod
    def _check_number(owners: Path, most: int) -> None:
        if owners.exists() and len(list(owners.iterdir())) >= most:
            raise InvalidRequest(
                f"There are {most} kept profiles of this owner already.",
                remedy="Use one of those, or have kept_profiles raised.",
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
        """The session is gone with every process of it."""
        self._in_use.discard(name)

    def free_uid(self, uid: int | None) -> None:
        """The last process of a uid is gone, and no file of it is left."""
        if self._uids is not None and uid is not None:
            self._uids.free(uid)
