"""Compresses messages one by one: permessage-deflate without context takeover (RFC 7692).

No message refers to an earlier one. So one compressed frame serves all recipients of a message, and
a connection keeps neither a compressor nor a window between messages.
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
"""End of the output of a flush, omitted on the wire (RFC 7692 §7.2.1)."""
_END: Final = _FLUSH_MARK + b"\x03\x00"
"""The mark and an empty final block: a stream is complete if and only if it ends there."""
_LOOK_AHEAD: Final = 262
"""Bytes of its window in which zlib finds no matches."""
_MAX_STREAMS: Final = 16
"""A message may consist of several streams (RFC 7692 §7.2.3.4), each of which costs a copy."""


def bits_for(size: int, window_bits: int) -> int:
    """Window that ``size`` bytes need, at most the agreed one (log₂ of bytes).

    A window larger than the message finds no more matches, and clearing one of 2¹⁵ bytes costs ten
    times as much as compressing a short message.
    """
    return min(window_bits, max(MIN_BITS, (size + _LOOK_AHEAD - 1).bit_length()))


def deflate(payload: bytes, window_bits: int) -> bytes:
    """Compress a message for peers with a window of 2 to the ``window_bits`` (9-15) bytes."""
    bits = bits_for(len(payload), window_bits)
    squeezer = zlib.compressobj(wbits=-bits, memLevel=min(8, bits - 6))
    data = squeezer.compress(payload) + squeezer.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(_FLUSH_MARK)


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Decompress a message, to ``max_bytes`` + 1 bytes at most.

    Raises ``WireError``: 1009 for a message that is larger, 1007 for invalid data.
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
    """Maximum compressed size of ``max_bytes``: incompressible data grows a little."""
    return max_bytes + max_bytes // 16 + 64


def deflated_frame(payload: bytes, window_bits: int, opcode: int = TEXT) -> bytes:
    """Frame a message, compressed if that makes it smaller."""
    data = deflate(payload, window_bits)
    if len(data) >= len(payload):
        return build_frame(payload, opcode)
    return build_frame(data, opcode | RSV1)
