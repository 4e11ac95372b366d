"""Control groups: one leaf for each session, below one parent that has the pool's cap.

The mounts decide which version is used, not the kernel's age: on a hybrid machine the controllers
are in v1 while an empty cgroup2 is mounted as well.
"""

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from chromepool.model import Limits, Usage


class Leaf(Protocol):
    """The processes of one session: limited, counted, frozen and killed as one."""

    def limit(self, limits: Limits) -> None:
        """Set the caps and the share, as far as controllers can enforce them. Raises OSError."""

    def add(self, pid: int) -> None:
        """Put a process in; its future children follow. Raises OSError."""

    def pids(self) -> list[int]:
        """Return the processes that are in it now."""

    def kill(self) -> None:
        """Send SIGKILL to all of them; to be called again while :meth:`pids` is not empty."""

    def freeze(self, frozen: bool) -> None:
        """Stop all of them, or let them run again. Raises OSError."""

    def usage(self) -> Usage:
        """Return what they use, and have used."""

    def remove(self) -> None:
        """Remove the empty group. Raises OSError (EBUSY) while it is not quite empty."""


class Tree(Protocol):
    """The parent of every leaf: makes, finds and removes them."""

    version: str
    enforced: tuple[str, ...]
    freezer: bool
    """True if :meth:`Leaf.freeze` does anything."""
    memory_group: Path | None
    """Group in which the memory of all leaves together is counted and capped."""

    def create(self, name: str, limits: Limits, uid: int | None = None) -> Leaf:
        """Return a new leaf with the limits set, and nothing in it yet. Raises OSError.

        ``uid`` is the session's, where it has one of its own.
        """

    def adopt(self, name: str, limits: Limits) -> Leaf:
        """Return the leaf of a restored session, with its limits set. Raises OSError."""

    def leftovers(self, but: Collection[str] = ()) -> list[Leaf]:
        """Return the leaves that an earlier daemon left, but for those of these names."""

    def remove(self) -> None:
        """Remove the parent, once every leaf is gone."""

    def parents(self) -> list[Path]:
        """Return the directories it made, which the next daemon is to know."""


def read(path: Path, default: str = "") -> str:
    """Return a control file's text; ``default`` where the kernel does not have the file."""
    try:
        return path.read_text().strip()
    except OSError:
        return default


def read_int(path: Path) -> int | None:
    """Return a control file's number; None where there is none, or it is ``max``."""
    text = read(path)
    return int(text) if text.lstrip("-").isdigit() else None


def read_key(path: Path, key: str) -> int | None:
    """Return one number of a ``key value`` file such as memory.events."""
    for line in read(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return None


def write(path: Path, value: object) -> None:
    """Set a control file; the OSError names it."""
    path.write_text(f"{value}\n")


def write_if_there(path: Path, value: object) -> None:
    """Set a control file that not every kernel has."""
    if path.exists():
        write(path, value)


def read_pids(folder: Path) -> list[int]:
    """Return the processes of a group, without 0, which stands for one of another pid namespace."""
    return [int(pid) for pid in read(folder / "cgroup.procs").split() if pid != "0"]


def count_files(pids: list[int]) -> int:
    """Return the number of open descriptors of these processes; those that are gone have none."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/fd"))
    return count


def kill_pids(folder: Path) -> None:
    """Send SIGKILL to each process of a group, one by one.

    A pid may be used again between reading and killing: the pidfd pins a process, and reading the
    group again shows that the pinned one is in it.
    """
    for pid in read_pids(folder):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue  # gone already
        try:
            if pid in read_pids(folder):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def remove_tree(folder: Path) -> None:
    """Remove a group and the groups below it. Raises OSError while one is in use."""
    with contextlib.suppress(FileNotFoundError):
        for child in folder.iterdir():
            if child.is_dir():
                remove_tree(child)
        folder.rmdir()
