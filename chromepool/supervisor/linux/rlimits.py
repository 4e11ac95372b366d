"""rlimits of a Chrome, and what prctl adds to them."""

from __future__ import annotations

import resource

from chromepool.model import Limits

Rlimit = tuple[int, int]


def rlimits(limits: Limits, *, own_uid: bool) -> list[Rlimit]:
    """(resource, value) pairs for one session.

    Never RLIMIT_AS: V8 reserves terabytes of address space. RLIMIT_NPROC counts every process of
    a uid, so it is set only where the session has a uid of its own; the cgroup's pids cap, which
    it backs, is the one that is meant to be met first.
    """
    pairs = [
        (resource.RLIMIT_NOFILE, limits.files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ]
    if own_uid:
        pairs.append((resource.RLIMIT_NPROC, limits.pids + 64))
    return pairs


def apply(pairs: list[Rlimit]) -> None:
    """Sets soft and hard limits; a hard limit that is lower already stays (raising needs a right
    that the daemon may lack)."""
    for kind, value in pairs:
        hard = resource.getrlimit(kind)[1]
        capped = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (capped, capped))
