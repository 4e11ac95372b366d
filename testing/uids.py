"""User ids for tests. No two test processes of a machine, of other checkouts too, have one in
common: a daemon refuses uids that another one uses, and a limit counts what a uid runs anywhere."""

from __future__ import annotations

import contextlib
import itertools
import socket

_PROCESSES = 300
_FIRST_USER = 20_000
_FIRST_OF_DAEMONS = 1_000_000
_EACH = 100


def _claim() -> int:
    """A number that no other test process has. The claim to it is a socket's name in the kernel,
    which is free again once this process is gone."""
    for number in range(_PROCESSES):
        claim = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            claim.bind(f"\0chromepool-tests-{number}")
            claim.detach()  # it stays open, and nothing complains of that at the end
            return number
        claim.close()
    raise RuntimeError(f"{_PROCESSES} test processes run already")


_PROCESS = _claim()
_RANGES = itertools.cycle(range(1000))


def new_range() -> int:
    """The first of a hundred uids for a daemon; each call gives other ones."""
    return _FIRST_OF_DAEMONS + (_PROCESS * 1000 + next(_RANGES)) * _EACH


def user(number: int) -> int:
    """The uid of an ordinary user, one of a hundred. All are below 65,536, so that a user namespace
    can have them."""
    assert 0 <= number < _EACH
    return _FIRST_USER + _PROCESS * _EACH + number
