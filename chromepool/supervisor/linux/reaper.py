"""Collecting dead children."""

from __future__ import annotations

import os
import signal


def reap() -> list[tuple[int, int]]:
    """Every child that is dead by now, as (pid, wait status).

    SIGCHLD coalesces: one signal may stand for many deaths (signal(7)), so each call drains
    ``waitpid`` until it says that nobody else is dead, or that there are no children at all.
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
    """A wait status as (exit code, signal name), one of them None."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code, None
    try:
        return None, signal.Signals(-code).name
    except ValueError:  # real-time signals have no name of their own
        return None, f"signal {-code}"


def process_state(pid: int) -> str:
    """The letter for what a process does (proc(5)); "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # the name before it may have spaces and brackets
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
