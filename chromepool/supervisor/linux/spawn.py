"""Fork, gate, exec: the start of one process exactly as planned.

The child waits at a gate until its parent has put it into its cgroup, so that nothing of it ever
runs without limits. What fails between fork and exec is reported over a pipe that exec closes.
"""

import contextlib
import dataclasses
import errno
import fcntl
import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence

import prctl

from chromepool.errors import StartFailed
from chromepool.startup import become
from chromepool.supervisor.linux import rlimits as limits
from chromepool.supervisor.linux.namespaces import PrivateMounts

_EXEC_TIMEOUT_MS = 10_000
_LIFTED = 64
"""Lowest number that sources are copied to before dup2: a fresh pipe may itself be fd 3."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A program to run, and the user, limits and descriptors it gets."""

    argv: Sequence[str]
    env: Mapping[str, str]
    fds: Mapping[int, int]
    """Descriptor in the child → descriptor in this process. All others are closed by exec."""
    uid: int | None = None
    """User id and group id to run as; None: the daemon's."""
    rlimits: Sequence[limits.Rlimit] = ()
    mounts: PrivateMounts | None = None
    umask: int = 0o077
    no_new_privs: bool = True
    dies_with_us: bool = True
    """True if it gets SIGKILL when the supervisor dies."""


def _close_inherited_on_exec() -> None:
    """Mark all descriptors close-on-exec, also those that the daemon itself inherited."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the one that the folder itself was listed through
                os.set_inheritable(int(name), False)


def _place_fds(fds: Mapping[int, int]) -> None:
    lifted = {
        target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _LIFTED)
        for target, source in fds.items()
    }
    for target, source in lifted.items():
        os.dup2(source, target, inheritable=True)


def _die_with(parent: int) -> None:
    """Have the kernel send SIGKILL when the supervisor dies: last, as a change of uid clears it."""
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(127)


def _default_signals() -> None:
    """Reset what exec keeps: the mask, and the two signals that Python ignores."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _run_child(plan: Plan, parent: int, gate: int, failure: int) -> None:
    """Do everything between fork and exec. Never returns."""
    stage = "gate"
    try:
        # Above the plan's descriptors, or a failure after those are placed could not be reported.
        failure = fcntl.fcntl(failure, fcntl.F_DUPFD_CLOEXEC, _LIFTED)
        if os.read(gate, 1) != b"1":
            return
        stage = "own session"
        os.setsid()
        if plan.mounts is not None:
            stage = "private mounts"
            plan.mounts.enter()
        os.umask(plan.umask)
        stage = "rlimits"
        limits.apply(list(plan.rlimits))
        if plan.uid is not None:
            stage = "uid"
            become(plan.uid)
        stage = "prctl"
        if plan.dies_with_us:
            _die_with(parent)
        if plan.no_new_privs:
            prctl.set_no_new_privs(1)
        stage = "descriptors"
        _close_inherited_on_exec()
        _place_fds(plan.fds)
        _default_signals()
        stage = "exec"
        os.execve(plan.argv[0], list(plan.argv), dict(plan.env))  # noqa: S606
    except Exception as error:  # ValueError too: silence means success
        with contextlib.suppress(OSError):
            os.write(failure, _describe(stage, error))
    finally:
        os._exit(127)


def _describe(stage: str, error: Exception) -> bytes:
    if isinstance(error, OSError):
        return f"{error.errno or errno.EINVAL} {stage} {error.filename or ''}".encode()
    return f"{errno.EINVAL} {stage} {error}".encode()


def _read_failure(failure: int) -> str:
    """Return what the child wrote before exec; "" when exec succeeded."""
    poller = select.poll()
    poller.register(failure, select.POLLIN | select.POLLHUP)
    if not poller.poll(_EXEC_TIMEOUT_MS):
        return f"{errno.ETIMEDOUT} exec"
    return os.read(failure, 4096).decode(errors="replace")


def _explain(text: str, program: str) -> StartFailed:
    number, _, stage = text.partition(" ")
    return StartFailed(f"{program} did not start: {stage.strip()}: {os.strerror(int(number))}.")


def _fork(plan: Plan, gate: tuple[int, int], failure: tuple[int, int]) -> int:
    """Fork with every signal blocked: a handler must not run in the child's copy of the loop."""
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        try:
            pid = os.fork()
        except OSError as error:  # EAGAIN: this user or group has as many processes as it may
            raise StartFailed(f"{plan.argv[0]} did not start: fork: {error}.") from error
        if pid == 0:
            os.close(gate[1])  # or the gate would never read as closed
            os.close(failure[0])
            _run_child(plan, parent, gate[0], failure[1])
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    gate = os.pipe()
    try:
        return gate, os.pipe()
    except OSError:
        os.close(gate[0])
        os.close(gate[1])
        raise


def spawn(plan: Plan, admit: Callable[[int], None]) -> int:
    """Start the plan's program, and return its pid once exec has succeeded.

    ``admit(pid)`` runs while the child waits at the gate; an OSError that it raises ends the child.
    Raises :class:`StartFailed`. A child that failed is reaped like any other.
    """
    try:
        gate, failure = _pipes()
    except OSError as error:
        raise StartFailed(f"{plan.argv[0]} did not start: {error}.") from error
    try:
        pid = _fork(plan, gate, failure)
        os.close(gate[0])  # or the write below would succeed although the child is dead
        os.close(failure[1])
        gate, failure = (-1, gate[1]), (failure[0], -1)
        try:
            admit(pid)
            os.write(gate[1], b"1")
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            raise StartFailed(f"{plan.argv[0]} could not be placed: {error}.") from error
        text = _read_failure(failure[0])
        if text:
            os.kill(pid, signal.SIGKILL)
            raise _explain(text, plan.argv[0])
        return pid
    finally:
        for fd in (*gate, *failure):
            if fd >= 0:
                os.close(fd)
