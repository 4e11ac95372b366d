"""Changes of a process to itself at its start: its user, and its limit of open files."""

from __future__ import annotations

import os
import resource


def become(uid: int) -> None:
    """Give up root for good: take this uid, the gid of the same number, and no other group.

    Raises OSError.
    """
    os.setgroups([])  # first, while it is permitted
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def raise_file_limit() -> None:
    """Allow this process as many descriptors as its hard limit does.

    Clients, Chromes and pipes take descriptors, and so do those in flight on the wire (unix(7),
    ETOOMANYREFS).
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
