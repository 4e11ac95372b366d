"""CDP envelopes: reading only as much of a message as its routing needs.

Chrome writes the top-level ``sessionId`` last in every message, so on the way out the owner is
found in the message's tail. A quote inside a JSON string is always escaped, so the tail's bytes
cannot come from a page's text; and a nested object would end in two braces.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

_KEY = b',"sessionId":"'
_TAIL = 32 + len(_KEY) + 2
"""Length of ``,"sessionId":"<32 hex digits>"}``."""
_ID = slice(-34, -2)


_Number = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""Chrome's ids are of 32 bits."""


_SMALL_BYTES = 4096
"""Up to here a copy is cheaper than a view."""
_SLOW_BYTES = 1 << 16
"""Longer messages are not read a second time: the loop has others to serve."""


class _Params(msgspec.Struct):
    """Any object; what is in it is checked as JSON and skipped."""


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The head of a client's message, as strict as Chrome is: what Chrome itself refuses it
    refuses without a sessionId, and such an answer would find no way back to the client."""

    id: _Number
    method: str
    params: _Params | None = None
    sessionId: str | msgspec.UnsetType = msgspec.UNSET


class Failure(msgspec.Struct):
    """A CDP error."""

    code: int = 0
    message: str = ""


class Incoming(msgspec.Struct):
    """A message of Chrome's that is for the daemon itself, decoded whole."""

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
    """The session a message of Chrome's is for, None when it is for the pipe's own root."""
    if message[-_TAIL : -_TAIL + len(_KEY)] == _KEY and message[-2:] == b'"}':
        return message[_ID]
    if b'"sessionId"' not in message[-200:]:
        return None
    session = decode(message).sessionId  # an id of another length than today's 32
    return None if session is None else session.encode()


def without_session(message: bytes, session: bytes) -> tuple[bytes | memoryview, bytes]:
    """A message less its ``sessionId``, in two parts so that a megabyte is not copied."""
    end = len(message) - len(_KEY) - len(session) - 2
    return (message[:end] if end < _SMALL_BYTES else memoryview(message)[:end]), b"}"


def decode(message: bytes) -> Incoming:
    """A whole message of Chrome's; raises :class:`msgspec.DecodeError`."""
    return _read(_incoming, message)


def read_envelope(message: bytes) -> Envelope:
    """The envelope of a client's message; raises :class:`msgspec.DecodeError`."""
    return _read(_envelope, message)


def _read(decoder: msgspec.json.Decoder[T], message: bytes) -> T:
    """Raises nothing but :class:`msgspec.DecodeError`; msgspec lets two of Python's own through."""
    try:
        return decoder.decode(message)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(message) > _SLOW_BYTES:
            raise msgspec.DecodeError(str(error)) from None
        return _read_slowly(decoder, message)


def _read_slowly(decoder: msgspec.json.Decoder[T], message: bytes) -> T:
    """As Python reads JSON: it takes half a surrogate pair, which msgspec does not take and which
    JavaScript's JSON.stringify writes for half an emoji."""
    try:
        body = json.loads(message.decode(), parse_constant=_refuse_constant)
        return msgspec.convert(body, decoder.type)
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def tail_for(session: bytes) -> bytes:
    """What takes the place of a message's closing brace to address it, the pipe's NUL included."""
    return _KEY + session + b'"}\0'


def command(number: int, method: str, params: dict[str, Any], session: str | None = None) -> bytes:
    """A command of the daemon's own, framed."""
    body: dict[str, Any] = {"id": number, "method": method, "params": params}
    if session is not None:
        body["sessionId"] = session
    return _encode(body) + b"\0"


def error(code: int, text: str, number: int | None = None, session: str | None = None) -> bytes:
    """An error such as Chrome itself would answer."""
    body: dict[str, Any] = {} if number is None else {"id": number}
    body["error"] = {"code": code, "message": text}
    if session is not None:
        body["sessionId"] = session
    return _encode(body)


def refusal(message: bytes) -> bytes:
    """The answer to a message that has no envelope: what is wrong with it."""
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
