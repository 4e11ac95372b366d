"""Control groups: one leaf per session under one parent that holds the pool's cap.

Which hierarchy is used is decided by what is mounted, not by the kernel's age: on a hybrid
machine the controllers sit in v1 while an empty cgroup2 is mounted beside them.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from chromepool.model import Limits, Usage


class Leaf(Protocol):
    """The processes of one session, as one thing."""

    def limit(self, limits: Limits) -> None:
        """Sets the caps and the share that this machine's controllers can hold. Raises OSError."""

    def add(self, pid: int) -> None:
        """Puts a process in; its future children follow. Raises OSError."""

    def pids(self) -> list[int]:
        """The processes that are in it now."""

    def kill(self) -> None:
        """SIGKILL to all of them; to be called again while :meth:`pids` is not empty."""

    def freeze(self, frozen: bool) -> None:
        """Stops all of them where they are, or lets them go on. Raises OSError."""

    def usage(self) -> Usage:
        """What they use, and have used."""

    def remove(self) -> None:
        """Removes the empty group. Raises OSError (EBUSY) when it is not quite empty yet."""


class Tree(Protocol):
    """The parent of every leaf."""

    version: str
    enforced: tuple[str, ...]
    freezer: bool
    """Whether :meth:`Leaf.freeze` does anything."""
    memory_group: Path | None
    """Where the memory of all leaves together is counted and capped."""

    def create(self, name: str, limits: Limits, uid: int | None = None) -> Leaf:
        """A new leaf with the limits set, before anything is in it. Raises OSError.

        ``uid`` is the session's own, where it has one."""

    def adopt(self, name: str, limits: Limits) -> Leaf:
        """A leaf that an earlier life left and that goes on, under its limits. Raises OSError."""

    def leftovers(self, but: Collection[str] = ()) -> list[Leaf]:
        """Leaves that an earlier life of the daemon left, without those of these names."""

    def remove(self) -> None:
        """Removes the parent when every leaf is gone."""

    def parents(self) -> list[Path]:
        """The directories it made, to be written down for the next life."""


def read(path: Path, default: str = "") -> str:
    """A control file's text; ``default`` where the kernel does not have the file."""
    try:
        return path.read_text().strip()
    except OSError:
        return default


def read_int(path: Path) -> int | None:
    """A control file's number; None where there is none, or it says ``max``."""
    text = read(path)
    return int(text) if text.lstrip("-").isdigit() else None


def read_key(path: Path, key: str) -> int | None:
    """One number of a ``key value`` file such as memory.events."""
    for line in read(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return None


def write(path: Path, value: object) -> None:
    """Sets a control file; the OSError names it."""
    path.write_text(f"{value}\n")


def write_if_there(path: Path, value: object) -> None:
    """Sets a control file that not every kernel has."""
    if path.exists():
        write(path, value)


def read_pids(folder: Path) -> list[int]:
    """The processes of a group; 0 stands for one of another pid namespace and is left out."""
    return [int(pid) for pid in read(folder / "cgroup.procs").split() if pid != "0"]


def count_files(pids: list[int]) -> int:
    """Open descriptors of these processes; those that are gone have none."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/fd"))
    return count


def kill_pids(folder: Path) -> None:
    """SIGKILL to each process of a group, one by one.

    A pid may be taken over between reading and killing: the pidfd pins the process, and reading
    the group again tells that the pinned one is the one that was meant.
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
    """rmdir of a group and of the groups below it. Raises OSError while one is in use."""
    with contextlib.suppress(FileNotFoundError):
        for child in folder.iterdir():
            if child.is_dir():
                remove_tree(child)
        folder.rmdir()
