"""CDP envelopes, read only as far as routing needs.

Chrome writes the top-level ``sessionId`` last in every message, so the owner of a message from
Chrome is found in its tail. The bytes of the tail cannot come from a page's text, because a quote
within a JSON string is always escaped; nor from a nested object, which would end in two braces.
"""

import json
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

_KEY = b',"sessionId":"'
_TAIL = 32 + len(_KEY) + 2
"""Length of ``,"sessionId":"<32 hex digits>"}``."""
_ID = slice(-34, -2)
_Number = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""Message ids, which have 32 bits in Chrome."""
_SMALL_BYTES = 4096
"""Length up to which a copy is cheaper than a view."""
_SLOW_BYTES = 1 << 16
"""Length up to which ``json`` reads what msgspec refuses; more would hold up the event loop."""


class _Params(msgspec.Struct):
    """Any object; its members are checked as JSON and skipped."""


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """Head of a client's message, read as strictly as Chrome reads it: Chrome's refusals have no
    ``sessionId``, so that they could not be routed back to the client."""

    id: _Number
    method: str
    params: _Params | None = None
    sessionId: str | msgspec.UnsetType = msgspec.UNSET


class Failure(msgspec.Struct):
    """An error in a CDP answer."""

    code: int = 0
    message: str = ""


class Incoming(msgspec.Struct):
    """A message from Chrome to the daemon itself, decoded whole."""

    id: int | None = None
    method: str = ""
    params: dict[str, Any] = {}
    result: dict[str, Any] = {}
    error: Failure | None = None
    sessionId: str | None = None


class _Id(msgspec.Struct):
    id: _Number


_envelope = msgspec.json.Decoder(Envelope)
_incoming = msgspec.json.Decoder(Incoming)
_id = msgspec.json.Decoder(_Id)
_encode = msgspec.json.Encoder().encode

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
SESSION_NOT_FOUND = -32001


def session_of(message: bytes) -> bytes | None:
    """Return the session that a message from Chrome belongs to, None for the pipe's root."""
    if message[-_TAIL : -_TAIL + len(_KEY)] == _KEY and message[-2:] == b'"}':
        return message[_ID]
    if b'"sessionId"' not in message[-200:]:
        return None
    session = decode(message).sessionId  # its id does not have today's 32 digits
    return None if session is None else session.encode()


def without_session(message: bytes, session: bytes) -> tuple[bytes | memoryview, bytes]:
    """Return a message without its ``sessionId``, in two parts, to avoid copying megabytes."""
    end = len(message) - len(_KEY) - len(session) - 2
    return (message[:end] if end < _SMALL_BYTES else memoryview(message)[:end]), b"}"


def decode(message: bytes) -> Incoming:
    """Decode a whole message from Chrome; raises :class:`msgspec.DecodeError`."""
    return _read(_incoming, message)


def read_envelope(message: bytes) -> Envelope:
    """Read the envelope of a client's message; raises :class:`msgspec.DecodeError`."""
    return _read(_envelope, message)


def _read(decoder: msgspec.json.Decoder[T], message: bytes) -> T:
    """Decode a message; raises :class:`msgspec.DecodeError` only, msgspec itself two more."""
    try:
        return decoder.decode(message)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(message) > _SLOW_BYTES:
            raise msgspec.DecodeError(str(error)) from None
        return _read_slowly(decoder, message)


def _read_slowly(decoder: msgspec.json.Decoder[T], message: bytes) -> T:
    """Decode with ``json``, which accepts a lone surrogate: pages write one for half an emoji."""
    try:
        body = json.loads(message.decode(), parse_constant=_refuse_constant)
        return msgspec.convert(body, decoder.type)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def tail_for(session: bytes) -> bytes:
    """Return the bytes that replace a message's closing brace to address it, with the NUL."""
    return _KEY + session + b'"}\0'


def command(number: int, method: str, params: dict[str, Any], session: str | None = None) -> bytes:
    """Return a framed command, as the daemon itself sends them."""
    body: dict[str, Any] = {"id": number, "method": method, "params": params}
    if session is not None:
        body["sessionId"] = session
    return _encode(body) + b"\0"


def error(code: int, text: str, number: int | None = None) -> bytes:
    """Return an error answer in the form of Chrome's."""
    body: dict[str, Any] = {} if number is None else {"id": number}
    return _encode(body | {"error": {"code": code, "message": text}})


def refusal(message: bytes) -> bytes:
    """Return the error answer to a message without a valid envelope."""
    try:
        number = _read(_id, message).id
    except msgspec.ValidationError:
        return error(INVALID_REQUEST, "Message must have integer 'id' property")
    except msgspec.DecodeError as cause:
        return error(PARSE_ERROR, f"JSON: {cause}")
    text = (
        "Message must have string 'method' property, may have object 'params' and string "
        "'sessionId', and no other"
    )
    return error(INVALID_REQUEST, text, number)
