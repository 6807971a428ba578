"""Reads the texts in what a server has sent: frames of RFC 6455, or Server-Sent Events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wsserver.wire.deflate import inflate
from wsserver.wire.frames import RSV1, TEXT

_FIN: Final = 0x80
_DATA: Final = b"data: "
LARGEST_BYTES: Final = 16 * 1024 * 1024
"""Of an inflated text."""


def texts_in_frames(data: bytes) -> Iterator[bytes]:
    """The texts in whole, unmasked frames, as ``build_frame`` makes them."""
    at = 0
    while at + 2 <= len(data):
        first, size = data[at], data[at + 1]
        at += 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        payload = data[at : at + size]
        at += size
        if first == TEXT | _FIN:
            yield payload
        elif first == TEXT | _FIN | RSV1:
            yield inflate(payload, LARGEST_BYTES)


def texts_in_events(data: bytes) -> Iterator[bytes]:
    """The texts in whole events, as ``build_event`` makes them; none of ``close``."""
    for event in data.split(b"\n\n"):
        lines = event.split(b"\n")
        if lines[0] != b"event: close":
            for line in lines:
                if line.startswith(_DATA):
                    yield line[len(_DATA) :]
