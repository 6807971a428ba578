"""WebSocket frames of a client: written masked, read unmasked (RFC 6455 §5.2)."""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Callable

from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


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


async def read_frame(read: Callable[[int], Awaitable[bytes]]) -> tuple[int, bytes]:
    """First byte and payload of the next frame; ``read`` returns exactly so many bytes."""
    first, size = await read(2)
    if size == 126:
        size = int.from_bytes(await read(2), "big")
    elif size == 127:
        size = int.from_bytes(await read(8), "big")
    return first, await read(size)


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame."""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()
