"""A Chrome of its own for every session, inside hard limits, cleaned up completely."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from chromepool.client import ApiError, Client, Session

__version__ = "0.2.0"
__all__ = ["ApiError", "Client", "Session", "__version__"]


def __getattr__(name: str) -> object:
    """The client, imported when it is used: the supervisor stays without an HTTP library."""
    if name in ("ApiError", "Client", "Session"):
        from chromepool import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
