"""Mount, IPC and user namespaces, which hide other sessions and parts of the machine from one.

Python 3.11 lacks unshare and mount: libc has them, safe in a forked child of one thread.
"""

import ctypes
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from chromepool.startup import become

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_TMPFS = _MS_NOSUID | _MS_NODEV

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Call unshare(2); raises :class:`OSError`."""
    _check(_libc.unshare(flags), "unshare")


def chroot(path: str) -> None:
    """Call chroot(2); raises :class:`OSError` that names the call, not the path."""
    _check(_libc.chroot(path.encode()), "chroot")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Call mount(2); raises :class:`OSError` that names the target."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(result, target)


_PRIVATE = ("/tmp", "/dev/shm")


def hides(path: Path) -> bool:
    """Return whether a session with private mounts cannot see this path of the machine."""
    return any(path.is_relative_to(folder) for folder in _PRIVATE)


@dataclasses.dataclass(frozen=True, slots=True)
class PrivateMounts:
    """A private /tmp, /dev/shm and view of /proc, which a process can enter."""

    uid: int
    size_bytes: int
    """Cap of each tmpfs; its pages count against the session's memory cap as well."""
    profile: Path
    """Folder that stays visible, also below /tmp."""

    def enter(self) -> None:
        """Move the calling process into new namespaces, and mount these; raises OSError."""
        unshare(CLONE_NEWNS | CLONE_NEWIPC)
        # After unshare: a mount of another namespace cannot be bound here (EINVAL).
        profile = os.open(self.profile, os.O_PATH | os.O_CLOEXEC)
        mount("none", "/", "", _MS_REC | _MS_PRIVATE)
        options = f"size={self.size_bytes},mode=1777,uid={self.uid},gid={self.uid}"
        for folder in _PRIVATE:
            mount("tmpfs", folder, "tmpfs", _TMPFS, options)
        if hides(self.profile):
            os.umask(0o022)  # the session's uid has to pass through the folders above
            os.makedirs(self.profile)
            mount(f"/proc/self/fd/{profile}", str(self.profile), "", _MS_BIND)
        # hidepid: a page that opens file:///proc must not read its neighbours' command lines.
        mount("proc", "/proc", "proc", _TMPFS | _MS_NOEXEC, "hidepid=invisible")


def succeeds(attempt: Callable[[], None]) -> str:
    """Run ``attempt`` in a forked child, before the loop reaps; return "" or the error's text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except OSError as error:
            os.write(write, f"{error.filename or ''}: {error.strerror}".encode())
        except BaseException as error:  # the child must not return into the caller's frames
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


def sandbox_attempt(uid: int | None) -> None:
    """Do what Chrome's sandbox does first, as ``uid`` if given; raises OSError where it could not.

    It makes a user namespace, then others and a chroot with the rights it has there. On Ubuntu
    23.10+ AppArmor allows the first call and takes the rights away, so the second fails; in a
    container without capabilities it is the third.
    """
    if uid is not None:
        become(uid)
    unshare(CLONE_NEWUSER)
    unshare(CLONE_NEWPID | CLONE_NEWNET)
    chroot("/")
