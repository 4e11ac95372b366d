"""Numbers of the descriptors a gateway is started with, and the signal that has it dump stacks."""

from __future__ import annotations

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
