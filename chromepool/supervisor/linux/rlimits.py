"""The rlimits of a Chrome."""

import resource

from chromepool.model import Limits

Rlimit = tuple[int, int]


def rlimits(limits: Limits, *, own_uid: bool) -> list[Rlimit]:
    """Return the (resource, value) pairs of one session.

    RLIMIT_AS is never set: V8 reserves terabytes of address space. RLIMIT_NPROC counts every
    process of a uid, so only a session's own uid gets one, above the cgroup's cap, met first.
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
    """Set soft and hard limits of this process."""
    for kind, value in pairs:
        # A hard limit that is lower already stays: the daemon may lack the right to raise it.
        hard = resource.getrlimit(kind)[1]
        capped = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (capped, capped))
