"""WebSocket frames on the server's side (RFC 6455, section 5): bytes in, messages out, no I/O.

aiohttp's own reader passes each message through a queue, a future and a task that has to be woken.
Here all messages of one read are available at once, and go to Chrome's pipe in one write.
"""

import enum

from chromepool.gateway.http.close_codes import CloseCode

_MAX_CONTROL = 125
"""Bytes of a control frame's payload at most (RFC 6455, 5.5)."""
_REASON_BYTES = _MAX_CONTROL - 2
_MASKED = 0x80
_FINAL = 0x80
_TEXT = 1
_WHOLE_TEXT = 0x81
"""First byte of a text message in a single frame, which nearly every message is."""
_CONTROL = 0x88
"""Lowest first byte of a control frame; these are never fragmented."""
_Bytes = bytes | bytearray


class Opcode(enum.IntEnum):
    """Kinds of frames (RFC 6455, 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_FIRST = frozenset({0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A})
"""First bytes that a frame may have: opcode and final bit; control frames are always final."""


class FrameError(Exception):
    """A violation of the protocol by the peer; ``code`` is the close code to answer with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def text_head(length: int) -> bytes:
    """Return the head of an unfragmented, unmasked text frame."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


def control(opcode: Opcode, payload: bytes = b"") -> bytes:
    """Return a control frame."""
    return bytes((0x80 | opcode, len(payload))) + payload


def close(code: int, reason: str) -> bytes:
    """Return a close frame; the reason is cut to the bytes that fit, never within a character."""
    text = reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
    return control(Opcode.CLOSE, code.to_bytes(2, "big") + text)


def unmask_in_python(payload: _Bytes, mask: _Bytes, /) -> bytes:
    """XOR a payload with its repeated mask (RFC 6455, 5.3) as a long integer, fastest without C."""
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return number.to_bytes(length, "little")


# The C function takes a sixth of the time for 60 B, and a thirtieth for 4 KB. websockets comes
# without it where there is neither a wheel for this Python nor a compiler.
try:
    from websockets.speedups import apply_mask
except ImportError:
    unmask = unmask_in_python
else:
    unmask = apply_mask


def is_text(payload: bytes) -> bool:
    """Check that a text message is UTF-8, as it must be (RFC 6455, 8.1)."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


class FrameReader:
    """Cuts the bytes that a client sends into messages and control frames."""

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._buffer: _Bytes = b""
        self._parts = bytearray()
        """Beginning of an incomplete frame, in one buffer: small pieces take far more memory."""
        self._missing = 0
        self._kind = Opcode.CONTINUATION
        self._fragments = bytearray()

    def feed(self, data: _Bytes) -> list[tuple[int, bytes]]:
        """Return opcode and payload of each message that ``data`` completes, fragments joined.
        Raises :class:`FrameError`; messages before the fault are lost with the connection."""
        if self._missing > len(data):
            self._parts += data
            self._missing -= len(data)
            return []
        if self._parts:
            self._parts += data
            data = self._parts
            self._parts = bytearray()
        elif self._buffer:
            data = self._buffer + data
        self._buffer = b""
        self._missing = 0
        return self._cut(data)

    def _cut(self, data: _Bytes) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        position, size = 0, len(data)
        while position < size:
            span = self._span(data, position)
            if span is None:
                break
            start, end = span
            if end > size:
                self._parts = bytearray(data[position:])
                self._missing = end - size
                return found
            payload = unmask(data[start:end], data[start - 4 : start])
            if data[position] == _WHOLE_TEXT and not self._kind:
                found.append((_TEXT, payload))
            elif (message := self._join(data[position], payload)) is not None:
                found.append(message)
            position = end
        self._buffer = data[position:]
        return found

    def _span(self, data: _Bytes, at: int) -> tuple[int, int] | None:
        """Return start and end of the frame's payload, None while its head is incomplete."""
        start = at + 2
        if start > len(data):
            return None
        first, second = data[at], data[at + 1]
        if first not in _FIRST or second < _MASKED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, _explain(first))
        length = second - _MASKED
        if length > _MAX_CONTROL:
            if first >= _CONTROL:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is too long")
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[start : start + size], "big")
            start += size
            if start > len(data):
                return None
        if first < _CONTROL and len(self._fragments) + length > self._limit:
            raise FrameError(CloseCode.TOO_BIG, f"a message may have {self._limit} bytes at most")
        return start + 4, start + 4 + length

    def _join(self, first: int, payload: bytes) -> tuple[int, bytes] | None:
        """Return the message that this frame completes, None if more fragments follow."""
        opcode = first & 0x0F
        if first >= _CONTROL:
            return opcode, payload
        if (opcode == Opcode.CONTINUATION) != bool(self._kind):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "fragments out of order")
        if first >= _FINAL and not self._kind:
            return opcode, payload
        self._kind = self._kind or Opcode(opcode)
        self._fragments += payload
        if first < _FINAL:
            return None
        message = self._kind, bytes(self._fragments)
        self._fragments = bytearray()
        self._kind = Opcode.CONTINUATION
        return message


def _explain(first: int) -> str:
    """Say what is wrong with a frame of this first byte."""
    if first & 0x70:
        return "reserved bits are set"
    if first in _FIRST:
        return "frames from a client must be masked"
    return f"opcode {first & 0x0F} does not exist or must not be fragmented"


def parse_close(payload: bytes) -> int:
    """Return the code in a close frame, 1005 if it has none; raises :class:`FrameError`."""
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2], "big")
    known = 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
    if len(payload) == 1 or not known:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a close frame without a valid code")
    return code
