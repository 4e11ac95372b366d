"""The codes with which the gateway closes a client's WebSocket (RFC 6455, section 7.4)."""

import enum

from chromepool.model import Reason


class CloseCode(enum.IntEnum):
    """Reasons for the end of a client's WebSocket."""

    OK = 1000
    """The target of a page socket was closed."""
    GOING_AWAY = 1001
    """The session ended on purpose, or the client did not answer pings."""
    PROTOCOL_ERROR = 1002
    """The client sent a frame that breaks the protocol."""
    UNSUPPORTED = 1003
    """The client sent a binary message."""
    NOT_UTF8 = 1007
    """The client sent a text message that is not UTF-8."""
    POLICY = 1008
    """The client reads too slowly."""
    TOO_BIG = 1009
    """The client sent a message over ``max_message_bytes``."""
    INTERNAL_ERROR = 1011
    """The session ended because of a fault of its Chrome."""
    SERVICE_RESTART = 1012
    """The gateway is being replaced; the client may connect again at once."""


_FAULTS = {Reason.CRASHED, Reason.OUT_OF_MEMORY, Reason.UNHEALTHY, Reason.START_FAILED}


def close_code(reason: Reason) -> CloseCode:
    """Return the code for clients of a session that ends for this reason."""
    return CloseCode.INTERNAL_ERROR if reason in _FAULTS else CloseCode.GOING_AWAY
