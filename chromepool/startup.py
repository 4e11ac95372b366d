"""Start of a process: the descriptors a gateway inherits, its user, its limit of open files."""

import os
import resource
import signal

WIRE_FD = 3
"""Socket of the wire to the supervisor."""
CONTROL_FD = 4
"""Listening socket of the control API."""
DEVTOOLS_FD = 5
"""Listening socket of the DevTools endpoint."""
EVIDENCE_FD = 6
"""Pipe that the stacks of a gateway that hangs are written to."""
EVIDENCE_SIGNAL = signal.SIGUSR1
"""Makes faulthandler write every thread's stack to :data:`EVIDENCE_FD`, whatever Python does."""


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
