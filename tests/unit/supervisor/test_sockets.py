"""Sockets that a manager gives the daemon are used, or refused with a reason."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from chromepool.errors import HostError
from chromepool.supervisor.sockets import activated


@pytest.fixture
def sockets() -> Iterator[Callable[..., socket.socket]]:
    made: list[socket.socket] = []

    def make(kind: int = socket.SOCK_STREAM, *, listens: bool = True) -> socket.socket:
        made.append(socket.socket(socket.AF_INET, kind))
        made[-1].bind(("127.0.0.1", 0))
        if listens:
            made[-1].listen()
        return made[-1]

    yield make
    for sock in made:
        sock.close()


def test_what_does_not_listen_is_left_alone(sockets: Callable[..., socket.socket]) -> None:
    connected = sockets(listens=False)
    datagrams = sockets(socket.SOCK_DGRAM, listens=False)
    read, write = os.pipe()
    assert activated({"session-1": [connected.fileno(), datagrams.fileno(), read, write]}) == {}
    os.close(read)
    os.close(write)


def test_a_socket_of_the_wrong_kind_is_refused(sockets: Callable[..., socket.socket]) -> None:
    with pytest.raises(HostError, match="wrong kind"):
        activated({"control": [sockets().fileno()]})


def test_two_for_one_role_are_refused(sockets: Callable[..., socket.socket]) -> None:
    first, second = sockets(), sockets()
    with pytest.raises(HostError, match="Two sockets"):
        activated({"a": [first.fileno()], "b": [second.fileno()]})
