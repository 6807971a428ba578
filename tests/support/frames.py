"""WebSocket frames as clients send them (RFC 6455 §5.2)."""

from __future__ import annotations

import os
import struct

from websockets.utils import apply_mask


def client_frame(
    payload: bytes = b"", opcode: int = 1, *, fin: bool = True, rsv1: bool = False
) -> bytes:
    """A masked frame; also one that breaks the rules, such as a long or fragmented ping."""
    size = len(payload)
    head = bytes((0x80 * fin | 0x40 * rsv1 | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65536:
        head += struct.pack("!BH", 0x80 | 126, size)
    else:
        head += struct.pack("!BQ", 0x80 | 127, size)
    mask = os.urandom(4)
    return head + mask + apply_mask(payload, mask)
