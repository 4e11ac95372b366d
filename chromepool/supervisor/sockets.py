"""The listening sockets of the control API and DevTools, in which clients wait between gateways."""

import grp
import os
import socket
import stat
from collections.abc import Mapping, Sequence

from chromepool.config import Settings
from chromepool.errors import HostError

_BACKLOG = 512
"""Connections that wait for a gateway; the kernel caps it at net.core.somaxconn."""


def find_group(name: str) -> int | None:
    """Return the gid of the setting ``group``; None where it is empty. Raises HostError."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise HostError(
            f"There is no group {name!r}.",
            remedy=f"Create it (groupadd --system {name}), or leave the setting out.",
        ) from None


def activated(passed: Mapping[str, Sequence[int]]) -> dict[str, socket.socket]:
    """Return the listening sockets among passed descriptors, as ``control`` and ``devtools``.

    A descriptor's name decides, else its kind: Unix or TCP. Raises :class:`HostError`.
    """
    roles: dict[str, int] = {}
    for name, fds in passed.items():
        for fd in fds:
            role = _role(name, fd)
            if role in roles:
                raise HostError(
                    f"Two sockets were passed for {role}.",
                    remedy="Leave one of them in the socket unit.",
                )
            if role:
                roles[role] = fd
    return {role: socket.socket(fileno=fd) for role, fd in roles.items()}


def _role(name: str, fd: int) -> str:
    """Return what a descriptor is for; "" where it is no listening stream socket."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return ""
    with socket.socket(fileno=os.dup(fd)) as sock:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return ""
        suits = {socket.AF_UNIX: "control", socket.AF_INET: "devtools", socket.AF_INET6: "devtools"}
        role = suits.get(sock.family, "")
    if name in ("control", "devtools") and role != name:
        raise HostError(
            f"The socket passed as {name} is of the wrong kind.",
            remedy="Pass a Unix socket as control and a TCP socket as devtools.",
        )
    return role


def listen_control(settings: Settings) -> socket.socket:
    """Return the control API's socket. Raises :class:`HostError`."""
    path = settings.control_socket
    path.unlink(missing_ok=True)  # of an earlier daemon: the folder's lock is held
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
        raise HostError(
            f"Cannot listen on {path}: {error}.", remedy="Choose another --runtime-dir."
        ) from error
    return sock


def listen_devtools(settings: Settings) -> socket.socket:
    """Return the DevTools endpoint's socket. Raises :class:`HostError` where the port is taken."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise HostError(
            f"Cannot listen on {settings.host}: {error}.",
            remedy="Choose an address of this machine with --host.",
        ) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise HostError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            remedy="Choose another port with --port.",
        ) from error
    return sock
