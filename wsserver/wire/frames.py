"""Builds the frames a server sends (RFC 6455 §5.2; a server never masks)."""

from __future__ import annotations

import struct
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

RSV1: Final = 0x40
"""In the first byte of a data message: it is compressed (RFC 7692 §6)."""

MAX_CONTROL_BYTES: Final = 125
"""Payload of a control frame at most (RFC 6455 §5.5)."""
MAX_REASON_BYTES: Final = MAX_CONTROL_BYTES - 2
"""Reason of a close frame at most: two bytes are the code (RFC 6455 §5.5.1)."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS: Final = 1005
"""Never on the wire: a close frame without a code."""
ABNORMAL: Final = 1006
"""Never on the wire: a connection that ended without a close frame."""
INVALID_PAYLOAD: Final = 1007
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SLOW_CONSUMER: Final = 4002
"""The peer does not read what it is sent (a code of this service)."""

_FIN: Final = 0x80
_SHORT_TEXT_HEADS: Final = [bytes((_FIN | TEXT, size)) for size in range(MAX_CONTROL_BYTES + 1)]
"""Headers of the commonest frames, by size."""
_PACK_16 = struct.Struct("!BBH").pack
_PACK_64 = struct.Struct("!BBQ").pack


class WireError(Exception):
    """A peer broke RFC 6455 or a limit; the connection is closed with ``code`` and ``reason``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        """Close code (RFC 6455 §7.4)."""
        self.reason = reason
        """Text for the close frame; names the rule, and never quotes the peer."""

    def __str__(self) -> str:
        return f"{self.code} {self.reason}"


def build_frame(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """Put a header before a payload; lengths take the shortest form (RFC 6455 §5.2).

    ``opcode`` includes ``RSV1`` for a compressed payload.
    """
    size = len(payload)
    if size < 126 and opcode == TEXT and fin:
        return _SHORT_TEXT_HEADS[size] + payload
    first = opcode | _FIN if fin else opcode
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return _PACK_16(first, 126, size) + payload
    return _PACK_64(first, 127, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Build a close frame; a reason of more than 123 bytes is cut between two characters.

    1005 gives an empty frame: it means "no code". Other codes are not checked.
    """
    if code == NO_STATUS:
        return EMPTY_CLOSE
    text = reason.encode("utf-8", "replace")
    if len(text) > MAX_REASON_BYTES:
        text = text[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    return build_frame(code.to_bytes(2, "big") + text, CLOSE)


EMPTY_CLOSE: Final = build_frame(b"", CLOSE)
"""A close frame without a code."""
EMPTY_PING: Final = build_frame(b"", PING)
"""A ping without a payload: two bytes, the same for everyone."""
EMPTY_PONG: Final = build_frame(b"", PONG)
"""The answer to a ping without a payload."""
