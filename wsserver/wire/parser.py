"""Strict parser of the frames that clients send (RFC 6455 §5), without any I/O.

An event is a plain tuple ``(kind, payload, code)``, which costs half as much as a small object.

===========  =============================  =======================================
kind         payload                        code
===========  =============================  =======================================
``TEXT``     the message, valid UTF-8       0
``BINARY``   the message                    0
``PING``     up to 125 bytes, to be echoed  0
``PONG``     up to 125 bytes                0
``CLOSE``    the reason, valid UTF-8        close code, 1005 when the peer sent none
``FAILURE``  which rule was broken, ASCII   close code to answer with
===========  =============================  =======================================

A compressed message has ``RSV1`` added to its kind, and is not inflated: its size and its UTF-8
have not been checked. Inflating it here would let one read of 64 KiB grow a thousandfold before
the first message is delivered.
"""

from __future__ import annotations

import codecs
from typing import Final, TypeAlias

from wsserver.wire.deflate import max_deflated_bytes
from wsserver.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_PAYLOAD,
    MAX_CONTROL_BYTES,
    MESSAGE_TOO_BIG,
    NO_STATUS,
    PING,
    POLICY_VIOLATION,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    TEXT,
    WireError,
)

Event: TypeAlias = tuple[int, bytes, int]

FAILURE: Final = -1
"""Kind of the event that ends a stream which broke a rule."""

FRAMES_AT_ONCE: Final = 256
"""Frames parsed at a time: one read may hold ten thousand, which would block the event loop."""

SMALLEST_FRAGMENT_BYTES: Final = 64
FRAGMENTS_ALWAYS_TAKEN: Final = 1024

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_FINAL_TEXT: Final = _FIN | TEXT
_DATA: Final = frozenset((TEXT, BINARY))
_OPCODES: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_new_decoder = codecs.getincrementaldecoder("utf-8")


def _unmask_with_int(mask: bytes, data: bytes) -> bytes:
    """XOR ``data`` with the repeated four bytes of ``mask``: one operation on two long integers."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


try:
    from tornado.speedups import websocket_mask as unmask
except ImportError:  # built without a C compiler; Tornado's own fallback works byte by byte
    unmask = _unmask_with_int


def max_fragments(max_message_bytes: int) -> int:
    """Maximum number of frames of one message.

    Rate limits count messages: without this limit, empty fragments would escape them.
    """
    return max(FRAGMENTS_ALWAYS_TAKEN, max_message_bytes // SMALLEST_FRAGMENT_BYTES)


def is_wire_code(code: int) -> bool:
    """Whether a peer may put this code into a close frame (RFC 6455 §7.4)."""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def is_utf8(data: bytes) -> bool:
    """Whether ``data`` is complete, valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_small_text(data: bytes, max_message_bytes: int) -> bytes | None:
    """Parse the commonest read: exactly one short, complete, masked text frame.

    Returns its payload, or None for anything else, which then goes through ``FrameParser``. A
    connection that only sends such frames needs no parser, and no memory for one.
    """
    size = len(data) - 6
    if (
        size < 0
        or size > MAX_CONTROL_BYTES
        or data[0] != _FINAL_TEXT
        or data[1] != size | _MASKED
        or size > max_message_bytes
    ):
        return None
    payload = unmask(data[2:6], data[6:])
    return payload if is_utf8(payload) else None


class FrameParser:
    """Incremental parser of one client's byte stream.

    ``max_message_bytes`` limits a message, and the sum of its fragments, by the *declared* lengths:
    nothing above it is ever buffered (1009). ``takes_deflated`` allows compressed messages. When
    ``is_idle`` the parser holds no state and may be replaced by a new one.
    """

    __slots__ = (
        "_decoder",
        "_done",
        "_fin",
        "_fragments",
        "_head",
        "_is_behind",
        "_left",
        "_mask",
        "_max",
        "_max_fragments",
        "_message",
        "_opcode",
        "_size",
        "_takes_deflated",
    )

    def __init__(self, max_message_bytes: int, takes_deflated: bool = False) -> None:
        self._max = max_message_bytes
        self._max_fragments = max_fragments(max_message_bytes)
        self._takes_deflated = takes_deflated
        self._head = b""
        """Bytes not parsed yet: part of a header, or of a control frame (< 140 bytes).

        While ``is_behind``, also what comes after ``FRAMES_AT_ONCE`` frames of one read.
        """
        self._is_behind = False
        self._left = 0
        """Payload bytes of the current data frame that have not arrived."""
        self._mask = b""
        """The current data frame's mask, rotated to its next byte."""
        self._fin = True
        self._opcode = 0
        """Kind of the message being collected, ``RSV1`` included; 0: none."""
        self._message: bytearray | None = None
        """The message so far, unmasked."""
        self._size = 0
        """Declared bytes of the message so far."""
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self._done = False
        """Whether a close frame or a failure was returned: the rest is ignored."""

    @property
    def is_idle(self) -> bool:
        """Whether it holds neither a part of a frame nor a part of a message."""
        return not (self._head or self._opcode or self._done)

    @property
    def is_behind(self) -> bool:
        """Whether it has stopped before the end of its input; ``feed(b"")`` continues."""
        return self._is_behind

    def feed(self, data: bytes) -> list[Event]:
        """Parse the next bytes; return the events that they completed, in order.

        Of many small frames only the first ``FRAMES_AT_ONCE`` are parsed: see ``is_behind``.

        Never raises. Events before a violation are returned; the violation itself is the last
        event, ``FAILURE``. Input after it, or after a ``CLOSE``, is ignored.
        """
        events: list[Event] = []
        if self._done:
            return events
        if self._head:
            data = self._head + data
            self._head = b""
        try:
            used = self._parse(data, events)
        except WireError as error:
            self._finish()
            events.append((FAILURE, error.reason.encode(), error.code))
        else:
            if not self._done:
                self._head = data[used:]
        return events

    def _parse(self, data: bytes, events: list[Event]) -> int:
        """Append events to ``events``; return how many bytes were used."""
        start = 0
        end = len(data)
        frames = 0
        self._is_behind = False
        while start < end:
            if self._left:
                start = self._take_payload(data, start, events)
                continue
            if frames == FRAMES_AT_ONCE:
                self._is_behind = True
                break
            frames += 1
            if end - start < 2:
                break
            first = data[start]
            opcode = first & 0x0F
            self._check_start(first, opcode, data[start + 1])
            size = data[start + 1] & 0x7F
            body = start + 6
            if size == 126:
                body += 2
            elif size == 127:
                body += 8
            if end < body:
                break
            if size >= 126:
                size = self._long_size(data[start + 2 : body - 4], size)
            mask = data[body - 4 : body]
            if opcode & 0x8:
                if end < body + size:
                    break
                start = body + size
                self._control(opcode, unmask(mask, data[body:start]), events)
                if self._done:
                    break
            else:
                self._begin_frame(first, opcode, size, mask)
                start = self._take_payload(data, body, events)
        return start

    def _check_start(self, first: int, opcode: int, second: int) -> None:
        """Check the first two bytes of a frame."""
        reserved = first & _RESERVED
        if reserved and not (self._takes_deflated and reserved == RSV1 and opcode in _DATA):
            raise WireError(PROTOCOL_ERROR, "reserved bits set")
        if opcode not in _OPCODES:
            raise WireError(PROTOCOL_ERROR, "unknown opcode")
        if opcode & 0x8:
            if not first & _FIN:
                raise WireError(PROTOCOL_ERROR, "fragmented control frame")
            if second & 0x7F > MAX_CONTROL_BYTES:
                raise WireError(PROTOCOL_ERROR, "control frame too long")
        elif opcode == CONTINUATION:
            if not self._opcode:
                raise WireError(PROTOCOL_ERROR, "continuation of nothing")
        elif self._opcode:
            raise WireError(PROTOCOL_ERROR, "new message inside a fragmented one")
        if not second & _MASKED:
            raise WireError(PROTOCOL_ERROR, "frame not masked")

    @staticmethod
    def _long_size(raw: bytes, form: int) -> int:
        """Read an extended length; only the shortest form is allowed (RFC 6455 §5.2)."""
        size = int.from_bytes(raw, "big")
        if size >> 63:
            raise WireError(PROTOCOL_ERROR, "length out of range")
        if size < (126 if form == 126 else 65536):
            raise WireError(PROTOCOL_ERROR, "length not in its shortest form")
        return size

    def _begin_frame(self, first: int, opcode: int, size: int, mask: bytes) -> None:
        """Start a data frame whose header has been parsed."""
        if opcode:
            self._opcode = first & (RSV1 | 0x0F)
        limit = max_deflated_bytes(self._max) if self._opcode & RSV1 else self._max
        if self._size + size > limit:
            raise WireError(MESSAGE_TOO_BIG, f"message over {self._max} bytes")
        if self._fragments >= self._max_fragments:
            raise WireError(POLICY_VIOLATION, "too many fragments")
        self._size += size
        self._fragments += 1
        self._fin = bool(first & _FIN)
        self._left = size
        self._mask = mask

    def _take_payload(self, data: bytes, start: int, events: list[Event]) -> int:
        """Parse the available part of the current data frame; return the offset behind it."""
        stop = min(start + self._left, len(data))
        taken = stop - start
        piece = unmask(self._mask, data[start:stop])
        self._left -= taken
        complete = self._fin and not self._left
        if complete and self._message is None:
            # The whole message in one piece: no copy, one check.
            if self._opcode == TEXT and not is_utf8(piece):
                raise WireError(INVALID_PAYLOAD, "text is not UTF-8")
            events.append((self._opcode, piece, 0))
            self._reset()
            return stop
        if self._message is None:
            self._message = bytearray()
            if self._opcode == TEXT:
                self._decoder = _new_decoder()
        if self._decoder is not None:
            try:
                self._decoder.decode(piece, complete)
            except UnicodeDecodeError:
                raise WireError(INVALID_PAYLOAD, "text is not UTF-8") from None
        self._message += piece
        if complete:
            events.append((self._opcode, bytes(self._message), 0))
            self._reset()
        elif self._left:
            turn = taken & 3
            self._mask = self._mask[turn:] + self._mask[:turn]
        return stop

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        """Parse a complete control frame."""
        if opcode != CLOSE:
            events.append((opcode, payload, 0))
            return
        if not payload:
            events.append((CLOSE, b"", NO_STATUS))
        elif len(payload) == 1:
            raise WireError(PROTOCOL_ERROR, "close frame of one byte")
        else:
            code = int.from_bytes(payload[:2], "big")
            if not is_wire_code(code):
                raise WireError(PROTOCOL_ERROR, "close code not allowed")
            reason = payload[2:]
            if not is_utf8(reason):
                raise WireError(INVALID_PAYLOAD, "close reason is not UTF-8")
            events.append((CLOSE, reason, code))
        self._finish()

    def _reset(self) -> None:
        """Discard the state of a message that has been returned."""
        self._opcode = 0
        self._message = None
        self._decoder = None
        self._size = 0
        self._fragments = 0

    def _finish(self) -> None:
        """Stop parsing, and discard all state."""
        self._reset()
        self._head = b""
        self._left = 0
        self._done = True
