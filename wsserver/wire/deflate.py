"""Compresses messages one by one: permessage-deflate without context takeover (RFC 7692).

No message refers to an earlier one. So one compressed frame does for everybody who gets a message,
and a connection keeps neither a compressor nor a window between messages.
"""

from __future__ import annotations

import zlib
from typing import Final

from wsserver.wire.frames import (
    INVALID_PAYLOAD,
    MESSAGE_TOO_BIG,
    RSV1,
    TEXT,
    WireError,
    build_frame,
)

MIN_BITS: Final = 9
"""zlib cannot write a raw stream with a window of 2⁸ bytes."""
MAX_BITS: Final = 15

_FLUSH_MARK: Final = b"\x00\x00\xff\xff"
"""Ends what a flush gives, and is left out on the wire (RFC 7692 §7.2.1)."""
_END: Final = _FLUSH_MARK + b"\x03\x00"
"""The mark, and an empty final block: a stream is whole if and only if it ends there."""
_LOOK_AHEAD: Final = 262
"""zlib finds nothing in that much of its window."""
_MAX_STREAMS: Final = 16
"""A message may consist of several streams (RFC 7692 §7.2.3.4), each of which costs a copy."""


def bits_for(size: int, window_bits: int) -> int:
    """How large a window ``size`` bytes need, within what was agreed on (log₂ of bytes).

    A window larger than the message finds nothing more, and clearing one of 2¹⁵ bytes costs ten
    times what compressing a short message does.
    """
    return min(window_bits, max(MIN_BITS, (size + _LOOK_AHEAD - 1).bit_length()))


def deflate(payload: bytes, window_bits: int) -> bytes:
    """Compress a message for peers that take a window of 2 to the ``window_bits`` (9-15) bytes."""
    bits = bits_for(len(payload), window_bits)
    squeezer = zlib.compressobj(wbits=-bits, memLevel=min(8, bits - 6))
    data = squeezer.compress(payload) + squeezer.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(_FLUSH_MARK)


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Decompress a message; no more than ``max_bytes`` + 1 bytes are ever made of it.

    Raises ``WireError``: 1009 for a message that is larger, 1007 for one that is broken.
    """
    data += _END
    pieces: list[bytes] = []
    room = max_bytes
    try:
        for _ in range(_MAX_STREAMS):
            stream = zlib.decompressobj(-MAX_BITS)
            piece = stream.decompress(data, room + 1)
            room -= len(piece)
            if room < 0:
                raise WireError(MESSAGE_TOO_BIG, f"message over {max_bytes} bytes")
            pieces.append(piece)
            if not stream.eof:
                break
            data = stream.unused_data
            if not data:
                return b"".join(pieces) if len(pieces) > 1 else piece
    except zlib.error:
        pass
    raise WireError(INVALID_PAYLOAD, "compressed data is broken")


def max_deflated_bytes(max_bytes: int) -> int:
    """What a message of ``max_bytes`` may take compressed: data that resists it grows a little."""
    return max_bytes + max_bytes // 16 + 64


def deflated_frame(payload: bytes, window_bits: int, opcode: int = TEXT) -> bytes:
    """Compress and frame a message, or just frame it when compressing would not make it smaller."""
    data = deflate(payload, window_bits)
    if len(data) >= len(payload):
        return build_frame(payload, opcode)
    return build_frame(data, opcode | RSV1)
