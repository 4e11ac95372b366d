"""The identity of a caller, and which sessions it may see."""

import array
import dataclasses
import grp
import os
import socket
import struct
from collections.abc import Callable

from aiohttp import web

from chromepool import tokens
from chromepool.errors import Forbidden, SessionNotFound, Unauthorized
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.registry import SessionRegistry
from chromepool.gateway.sessions.session import Session

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59
"""Socket option of Linux 4.13, for which Python has no name."""
_MOST_GROUPS = 256
"""Number of groups that fit into the longest option that Python reads. A caller in more groups is
not recognized by its group."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A caller."""

    owner: str
    """``uid:N``, ``token:NAME`` or ``tcp:ADDRESS``."""
    admin: bool = False
    """True if the caller may see and end all sessions."""

    def sees(self, owner: str) -> bool:
        """Report whether the caller may see what belongs to ``owner``."""
        return self.admin or owner == self.owner

    def find(self, registry: SessionRegistry, session_id: str) -> Session:
        """Find a session; raise :class:`SessionNotFound` also for one of another owner."""
        session = registry.get(session_id)
        if not self.sees(session.owner):
            raise SessionNotFound("There is no session of this id.")
        return session


Identify = Callable[[web.Request], Identity]


def _groups(sock: socket.socket) -> list[int]:
    """Return all groups of the process at the other end of a Unix socket."""
    groups = array.array("I")
    try:
        groups.frombytes(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * 4))
    except OSError:
        return []
    return groups.tolist()


def by_credentials(runtime: Runtime) -> Identify:
    """Identify callers of the Unix socket by what the kernel reports (SO_PEERCRED, unix(7)).

    Root, the user that the daemon runs as, and members of the service's group are administrators.
    """
    admins = {0} if runtime.host.privileged else {0, os.getuid()}
    base, count = runtime.settings.uid_base, runtime.settings.uid_count
    chromes = range(base, base + count) if runtime.host.privileged else ()
    name = runtime.settings.group
    group = grp.getgrnam(name).gr_gid if name else None

    def identify(request: web.Request) -> Identity:
        if request.transport is None:
            raise Unauthorized("The caller has disconnected.")
        sock = request.transport.get_extra_info("socket")
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, gid = _UCRED.unpack(data)
        if uid in chromes:  # a page that broke out of its Chrome
            raise Forbidden("Sessions may not use the control API.")
        member = group is not None and (gid == group or group in _groups(sock))
        return Identity(f"uid:{uid}", admin=uid in admins or member)

    return identify


def token_in(request: web.Request) -> str | None:
    """Return the token of a request, from ``Authorization: Bearer`` or else from ``?token=``."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.query.get("token")


def by_token(digests: dict[str, str]) -> Identify:
    """Identify callers over TCP by the token that they must show."""

    def identify(request: web.Request) -> Identity:
        token = token_in(request)
        name = None if token is None else tokens.owner_of(token, digests)
        if name is None:
            said = "The request needs a token." if token is None else "The token is not known."
            remedy = "Send a token of the tokens file as Authorization: Bearer, or as ?token=."
            raise Unauthorized(said, remedy=remedy)
        return Identity(f"token:{name}")

    return identify


def by_address(request: web.Request) -> Identity:
    """Identify a caller over TCP by its address, where no tokens are in use."""
    return Identity(f"tcp:{request.remote}")
