"""The files a session has downloaded, opened for the gateway, which may not read them itself.

The folder is the session's, so nothing in it is trusted: every step starts at a descriptor of the
folder before, no link is followed, and only regular files of the session's own uid are passed.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from chromepool import wire
from chromepool.model import File
from chromepool.supervisor.chrome.process import ChromeProcess

FOLDER = "Downloads"
_MOST_BYTES = 100_000
"""Longest list on the wire: it has to fit into one packet."""
_FILE_BYTES = 100
"""Share of a file in that, besides its name."""
_PARTIAL = ".crdownload"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_name(name: str) -> None:
    """Raise FileNotFoundError for what cannot be the name of a file in the folder."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or not _is_encodable(name):
        raise FileNotFoundError(name)


def _is_encodable(name: str) -> bool:
    """Return whether it has no lone surrogate, which JSON can escape."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


@contextlib.contextmanager
def _opened(profile: Path) -> Iterator[int]:
    """Open the folder; raises FileNotFoundError, or OSError where it is no folder."""
    with contextlib.ExitStack() as stack:
        above = os.open(profile, _DIRECTORY)
        stack.callback(os.close, above)
        folder = os.open(FOLDER, _DIRECTORY, dir_fd=above)
        stack.callback(os.close, folder)
        yield folder


def _is_own(found: os.stat_result, uid: int | None) -> bool:
    return stat.S_ISREG(found.st_mode) and (uid is None or found.st_uid == uid)


def list_files(profile: Path, uid: int | None) -> tuple[File, ...]:
    """Return the complete files, newest first, as many as fit into a message (at least 60)."""
    found = []
    with contextlib.suppress(OSError), _opened(profile) as folder:
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if _is_own(state, uid) and not name.endswith(_PARTIAL) and _is_encodable(name):
                    found.append(File(name, state.st_size, state.st_mtime))
    return tuple(_as_many_as_fit(sorted(found, key=lambda file: -file.modified)))


def _as_many_as_fit(files: list[File]) -> Iterator[File]:
    left_bytes = _MOST_BYTES
    for file in files:
        left_bytes -= len(json.dumps(file.name)) + _FILE_BYTES  # a name of 255 bytes can take 1530
        if left_bytes < 0:
            return
        yield file


def open_file(profile: Path, uid: int | None, name: str) -> int:
    """Return a descriptor to read a file; raises FileNotFoundError, OSError."""
    check_name(name)
    with _opened(profile) as folder:
        # O_NONBLOCK: opening a fifo that a page put there would block the supervisor.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=folder)
    if not _is_own(os.fstat(fd), uid):
        os.close(fd)
        raise FileNotFoundError(name)
    return fd


def remove_file(profile: Path, name: str) -> None:
    """Remove a file; raises FileNotFoundError, OSError."""
    check_name(name)
    with _opened(profile) as folder:
        os.unlink(name, dir_fd=folder)


def answer(
    request: wire.FileRequest, child: ChromeProcess | None
) -> tuple[wire.FileAnswer, tuple[int, ...]]:
    """Return the answer to a request, and with it the descriptor of a file that was opened."""
    files: tuple[File, ...] = ()
    fds: tuple[int, ...] = ()
    try:
        if child is None:
            raise FileNotFoundError(request.name)
        if request.verb == "list":
            files = list_files(child.profile, child.uid)
        elif request.verb == "open":
            fds = (open_file(child.profile, child.uid, request.name),)
        else:
            remove_file(child.profile, request.name)
    except OSError as error:
        return wire.FileAnswer(request.number, error=error.strerror or "no such file"), ()
    return wire.FileAnswer(request.number, files), fds
