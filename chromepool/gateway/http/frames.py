"""WebSocket frames of a server (RFC 6455, section 5): bytes in, messages out, no I/O.

aiohttp does the handshake and could do this too; but between its reader and a handler lie a queue,
a future and a task to be woken, for every message. Here the messages of one read are in hand at
once, so they also go to Chrome's pipe in one write.
"""

from __future__ import annotations

import enum

OK, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, NOT_UTF8, POLICY, TOO_BIG = (
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
)
_REASON_BYTES = 123
_MAX_CONTROL = 125
_MASKED = _FINAL = 0x80
_TEXT, _WHOLE_TEXT = 1, 0x81
"""Nearly all that comes: text in one frame."""
_CONTROL = 0x88
"""A frame's first byte from here on is that of a control frame, which comes in one piece."""


class Opcode(enum.IntEnum):
    """Kinds of frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_FIRST = frozenset({0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A})
"""What a frame may begin with: opcodes, and the final bit; control frames are always final."""


class FrameError(Exception):
    """The peer broke the protocol; ``code`` is what to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def text_head(length: int) -> bytes:
    """Head of an unfragmented, unmasked text frame."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


def control(opcode: Opcode, payload: bytes = b"") -> bytes:
    """A control frame."""
    return bytes((0x80 | opcode, len(payload))) + payload


def close(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to what fits, never within a character."""
    text = reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
    return control(Opcode.CLOSE, code.to_bytes(2, "big") + text)


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask, as one long number: there is no faster way without C."""
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return number.to_bytes(length, "little")


def is_text(payload: bytes) -> bool:
    """Whether a text frame's payload is UTF-8, as it must be (RFC 6455, 8.1)."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


class FrameReader:
    """Cuts what a client sends into messages and control frames."""

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._buffer = b""
        self._parts = bytearray()
        """What there is of a long frame; one piece, since many small ones would cost far more
        memory than they hold."""
        self._missing = 0
        self._kind = Opcode.CONTINUATION
        self._fragments = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(opcode, payload) of what ``data`` completes; fragments are joined to messages.

        Raises :class:`FrameError`, with what came before the fault lost: the connection is over.
        """
        if self._missing > len(data):
            self._parts += data
            self._missing -= len(data)
            return []
        if self._parts:
            self._parts += data
            data = bytes(self._parts)
            self._parts = bytearray()
        elif self._buffer:
            data = self._buffer + data
        self._buffer = b""
        self._missing = 0
        return self._cut(data)

    def _cut(self, data: bytes) -> list[tuple[int, bytes]]:
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

    def _span(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Start and end of the payload of the frame at this place, None while its head is cut."""
        start = at + 2
        if start > len(data):
            return None
        first, second = data[at], data[at + 1]
        if first not in _FIRST or second < _MASKED:
            raise FrameError(PROTOCOL_ERROR, _explain(first))
        length = second - _MASKED
        if length > _MAX_CONTROL:
            if first >= _CONTROL:
                raise FrameError(PROTOCOL_ERROR, "a control frame is too long")
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[start : start + size], "big")
            start += size
            if start > len(data):
                return None
        if first < _CONTROL and len(self._fragments) + length > self._limit:
            raise FrameError(TOO_BIG, f"a message may have {self._limit} bytes")
        return start + 4, start + 4 + length

    def _join(self, first: int, payload: bytes) -> tuple[int, bytes] | None:
        """A whole message, or None for one that goes on."""
        opcode = first & 0x0F
        if first >= _CONTROL:
            return opcode, payload
        if (opcode == Opcode.CONTINUATION) != bool(self._kind):
            raise FrameError(PROTOCOL_ERROR, "fragments out of order")
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
    """What is wrong with a frame that begins so."""
    if first & 0x70:
        return "reserved bits are set"
    if first in _FIRST:
        return "a client's frames are masked"
    return f"there is no opcode {first & 0x0F}, or it comes in no fragments"


def parse_close(payload: bytes) -> int:
    """The code of a close frame's payload, 1005 for none; raises :class:`FrameError`."""
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2], "big")
    known = 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
    if len(payload) == 1 or not known:
        raise FrameError(PROTOCOL_ERROR, "a close frame without a proper code")
    return code
