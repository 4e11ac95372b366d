"""The listening sockets and the lock that says whose they are.

They belong to the supervisor, so that they stay open while a gateway is started again.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chromepool.config import Settings
from chromepool.errors import HostError

_BACKLOG = 512
_MOMENT_S, _POLL_S = 0.5, 0.01
_UID_LOCK = "/run/chromepool-uids.lock"


def make_folders(settings: Settings) -> None:
    """The runtime and state folders. Others may pass through the profiles' folder (each session
    has a uid of its own) but not read it."""
    for folder, mode in (
        (Path(settings.runtime_dir), 0o755),
        (Path(settings.state_dir), 0o711),
        (settings.profiles_dir, 0o711),
        (settings.kept_profiles_dir, 0o711),
    ):
        try:
            if not folder.exists():  # one that is there keeps its mode: it may be somebody's home
                folder.mkdir(parents=True)
                folder.chmod(mode)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                # In /tmp anybody may have made it first, and would own what is put into it.
                raise HostError(f"{folder} belongs to somebody else.", remedy="Choose another.")
        except OSError as error:
            raise HostError(f"{folder} cannot be used: {error.strerror}.") from error


def lock(folder: str) -> int:
    """Takes a folder for this daemon, as long as the returned descriptor is open.

    Raises :class:`HostError` when another daemon has it for longer than a moment: a guardian
    may be trying whether it is free.
    """
    fd = os.open(Path(folder) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _MOMENT_S
    while not try_lock(fd):
        if time.monotonic() > deadline:
            os.close(fd)
            raise HostError(
                f"Another chromepool uses {folder}.",
                remedy="Stop it, or give this one a --runtime-dir and a --state-dir of its own.",
            )
        time.sleep(_POLL_S)
    return fd


def try_lock(fd: int) -> bool:
    """Takes the lock of an open file, if nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_uids(settings: Settings) -> int:
    """Takes the range of uids, and the gateway's, for this daemon (root only).

    Two daemons with one range would each give a uid to a session, and the two sessions could read
    and signal each other.
    """
    fd = os.open(_UID_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for first, count in ((settings.uid_base, settings.uid_count), (settings.gateway_uid, 1)):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
    except OSError:
        os.close(fd)
        last = settings.uid_base + settings.uid_count - 1
        raise HostError(
            f"Another chromepool uses uids {settings.uid_base} to {last}, or the gateway's"
            f" {settings.gateway_uid}.",
            remedy="Give this one others: --uid-base, --uid-count and --gateway-uid.",
        ) from None
    return fd


def find_group(name: str) -> int | None:
    """gid of the setting ``group``, None where it is empty. Raises :class:`HostError`."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise HostError(
            f"There is no group {name!r}.", remedy=f"groupadd --system {name}, or leave it out."
        ) from None


def activated(passed: Mapping[str, Sequence[int]]) -> dict[str, socket.socket]:
    """The listening sockets among descriptors that the manager passed, as ``control`` and
    ``devtools``: by the name they were given, else a Unix socket is the one and a TCP socket the
    other. What does not listen is left alone. Raises :class:`HostError`."""
    roles: dict[str, int] = {}
    for name, fds in passed.items():
        for fd in fds:
            role = _role(name, fd)
            if role in roles:
                raise HostError(
                    f"Two sockets were passed for {role}.", remedy="Give the socket unit one."
                )
            if role:
                roles[role] = fd
    return {role: socket.socket(fileno=fd) for role, fd in roles.items()}


def _role(name: str, fd: int) -> str:
    """What a descriptor is for; "" where it is no listening stream socket."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return ""
    sock = socket.socket(fileno=fd)
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return ""
        suits = {socket.AF_UNIX: "control", socket.AF_INET: "devtools", socket.AF_INET6: "devtools"}
        role = suits.get(sock.family, "")
    finally:
        sock.detach()
    if name in ("control", "devtools") and role != name:
        raise HostError(
            f"The socket passed as {name} is of the wrong kind.",
            remedy="control is a Unix socket, devtools a TCP socket.",
        )
    return role


def listen_control(settings: Settings) -> socket.socket:
    """The control API's socket; a file left by an earlier life makes way (the lock is held)."""
    path = settings.control_socket
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        gid = find_group(settings.group)
        if gid is not None:
            os.chown(path, -1, gid)
        path.chmod(settings.control_socket_mode)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise HostError(f"Cannot listen on {path}: {error}.") from error
    return sock


def listen_devtools(settings: Settings) -> socket.socket:
    """The DevTools endpoint's socket. Raises :class:`HostError` when the port is taken."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise HostError(f"Cannot listen on {settings.host}: {error}.") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise HostError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            remedy="Choose another with --port.",
        ) from error
    return sock
