"""A service manager, as far as the daemon talks to one."""

from __future__ import annotations

import socket


class Manager:
    """The manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(20)

    def hear(self) -> tuple[dict[str, str], list[int]]:
        data, fds, _, _ = socket.recv_fds(self.sock, 4096, 16)
        return dict(line.split("=", 1) for line in data.decode().split("\n")), list(fds)
