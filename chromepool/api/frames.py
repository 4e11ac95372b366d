"""WebSocket frames of a server (RFC 6455, section 5): bytes in, messages out, no I/O.

aiohttp does the handshake and could do this too; but between its reader and a handler lie a queue,
a future and a task to be woken, for every message. Here the messages of one read are in hand at
once, so they also go to Chrome's pipe in one write.
"""

from __future__ import annotations

import dataclasses
import enum

OK, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, POLICY, TOO_BIG = 1000, 1001, 1002, 1003, 1008, 1009
_REASON_BYTES = 123
_MAX_CONTROL = 125
_HEAD_BYTES = 14
"""The longest head: two bytes, eight of length, four of mask."""


class Opcode(enum.IntEnum):
    """Kinds of frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_OPCODES = frozenset(Opcode)


class FrameError(Exception):
    """The peer broke the protocol; ``code`` is what to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclasses.dataclass(slots=True)
class _Head:
    final: bool
    opcode: int
    start: int
    end: int
    """Where the payload lies in the buffer."""


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


class FrameReader:
    """Cuts what a client sends into messages and control frames."""

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._buffer = b""
        self._parts: list[bytes] = []
        """Reads that a long frame still waits with, so that they are joined once."""
        self._missing = 0
        self._kind = Opcode.CONTINUATION
        self._fragments: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(opcode, payload) of what ``data`` completes; fragments are joined to messages.

        Raises :class:`FrameError`, with what came before the fault lost: the connection is over.
        """
        if self._missing > len(data):
            self._parts.append(data)
            self._missing -= len(data)
            return []
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts.clear()
        elif self._buffer:
            data = self._buffer + data
        self._buffer = b""
        self._missing = 0
        return self._cut(data)

    def _cut(self, data: bytes) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        position = 0
        while (head := self._head(data, position)) is not None:
            if head.end > len(data):
                self._wait_for(head.end - len(data), data[position:])
                return found
            mask = data[head.start - 4 : head.start]
            payload = unmask(data[head.start : head.end], mask)
            message = self._join(head, payload)
            if message is not None:
                found.append(message)
            position = head.end
        self._buffer = data[position:]
        return found

    def _wait_for(self, missing: int, data: bytes) -> None:
        self._parts = [data]
        self._missing = missing

    def _head(self, data: bytes, at: int) -> _Head | None:
        """The head at this place, None when it is not all there yet."""
        if len(data) - at < 2:
            return None
        first, second = data[at], data[at + 1]
        self._check(first, second)
        length, start = second & 0x7F, at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(data) - start < size:
                return None
            length = int.from_bytes(data[start : start + size], "big")
            start += size
        if self._held + length > self._limit:
            raise FrameError(TOO_BIG, f"a message may have {self._limit} bytes")
        return _Head(bool(first & 0x80), first & 0x0F, start + 4, start + 4 + length)

    @staticmethod
    def _check(first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in _OPCODES:
            raise FrameError(PROTOCOL_ERROR, f"there is no opcode {opcode}")
        if not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "a client's frames are masked")
        if opcode >= Opcode.CLOSE and (not first & 0x80 or second & 0x7F > _MAX_CONTROL):
            raise FrameError(PROTOCOL_ERROR, "a control frame is long or in fragments")

    def _join(self, head: _Head, payload: bytes) -> tuple[int, bytes] | None:
        """A whole message, or None for one that goes on."""
        if head.opcode >= Opcode.CLOSE:
            return head.opcode, payload
        if (head.opcode == Opcode.CONTINUATION) != bool(self._kind):
            raise FrameError(PROTOCOL_ERROR, "fragments out of order")
        if head.final and not self._kind:
            return head.opcode, payload
        self._kind = self._kind or Opcode(head.opcode)
        self._fragments.append(payload)
        self._held += len(payload)
        if not head.final:
            return None
        message = self._kind, b"".join(self._fragments)
        self._fragments.clear()
        self._kind, self._held = Opcode.CONTINUATION, 0
        return message


def parse_close(payload: bytes) -> int:
    """The code of a close frame's payload, 1005 for none; raises :class:`FrameError`."""
    if not payload:
        return 1005
    code = int.from_bytes(payload[:2], "big")
    known = 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
    if len(payload) == 1 or not known:
        raise FrameError(PROTOCOL_ERROR, "a close frame without a proper code")
    return code
