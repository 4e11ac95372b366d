"""``chromepool health``: one request to the control socket, for probes that run often."""

from __future__ import annotations

import socket
from pathlib import Path

from chromepool.errors import HostError

_TIMEOUT_S = 5.0
_LONGEST = 64 * 1024


def ask(control_socket: Path, path: str) -> tuple[int, str]:
    """Return the status and the body of ``GET path``; raises :class:`HostError` without an answer.

    A plain socket is enough: the HTTP client of the other commands takes longer to load than the
    daemon to answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(control_socket))
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = _read_all(connection)
    except OSError as error:
        raise HostError(
            f"No daemon answers on {control_socket}: {error}.",
            remedy="Start one with `chromepool serve`, or give its --runtime-dir.",
        ) from error
    head, _, body = answer.partition("\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():
        raise HostError(
            f"The answer on {control_socket} is not that of a chromepool daemon.",
            remedy="Give the --runtime-dir of the daemon.",
        )
    return int(words[1]), body.strip()


def _read_all(connection: socket.socket) -> str:
    parts = b""
    while len(parts) < _LONGEST:
        part = connection.recv(4096)
        if not part:
            break
        parts += part
    return parts.decode(errors="replace")
