"""Dead children and how they died."""

import os
import signal


def reap() -> list[tuple[int, int]]:
    """Reap every child that is dead by now, as (pid, wait status).

    SIGCHLD coalesces: one signal may stand for many deaths (signal(7)), so each call drains
    ``waitpid``.
    """
    dead: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead.append((pid, status))


def split_status(status: int) -> tuple[int | None, str | None]:
    """Split a wait status into exit code and signal name, one of them None."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code, None
    try:
        return None, signal.Signals(-code).name
    except ValueError:  # real-time signals have no name of their own
        return None, f"signal {-code}"


def process_state(pid: int) -> str:
    """Return the letter of a process's state (proc(5)); "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # the name before it may have blanks and brackets
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
