"""The limits of a session as the kernel's rlimits."""

from __future__ import annotations

import resource

from chromepool.model import Limits
from chromepool.supervisor.linux import rlimits as limits

MIB = 1 << 20


LIMITS = Limits(512 * MIB, 100 * MIB, 100, 0.0, 1000, 64 * MIB)


def test_rlimits() -> None:
    pairs = dict(limits.rlimits(LIMITS, own_uid=True))
    assert pairs[resource.RLIMIT_NOFILE] == 1000
    assert pairs[resource.RLIMIT_CORE] == 0
    assert pairs[resource.RLIMIT_FSIZE] == 64 * MIB
    assert pairs[resource.RLIMIT_NPROC] >= LIMITS.pids
    assert resource.RLIMIT_AS not in pairs
    assert resource.RLIMIT_NPROC not in dict(limits.rlimits(LIMITS, own_uid=False))
