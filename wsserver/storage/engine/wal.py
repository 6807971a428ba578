"""Finds damage in a write-ahead log: commits that are in the file and that SQLite leaves out.

After a crash SQLite takes over the log up to the first frame whose checksum is wrong, and says
nothing of what follows. Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from wsserver.storage.engine.check import wal_of

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""By the byte order that checksums are computed in."""


class Log(NamedTuple):
    """What the headers in a write-ahead log say; their checksums are not looked at."""

    bytes: int
    is_readable: bool
    """Is its own header whole? Else SQLite takes nothing over."""
    frames: int
    """Frames of this log; those of an earlier round behind them do not count."""
    commits: tuple[int, ...]
    """Numbers, from 1, of the frames that end a transaction."""


def read_log(database: Path) -> Log | None:
    """Read the headers of a database's log; None: there is none, or it is empty.

    Reads 24 bytes a frame: about 20 ms for 60 MB.
    """
    try:
        fd = os.open(wal_of(database), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # none, or what opens the database will say why
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            return None
        header = os.pread(fd, HEADER_BYTES, 0)
        page_bytes = _page_bytes(header)
        if page_bytes is None:
            return Log(size, False, 0, ())
        salts = header[16:24]
        frame_bytes = FRAME_HEADER_BYTES + page_bytes
        frames, commits = 0, []
        for number in range(1, (size - HEADER_BYTES) // frame_bytes + 1):
            start = HEADER_BYTES + (number - 1) * frame_bytes
            frame = os.pread(fd, FRAME_HEADER_BYTES, start)
            if frame[8:16] != salts:
                continue
            frames = number
            if frame[4:8] != b"\0\0\0\0":
                commits.append(number)
        return Log(size, True, frames, tuple(commits))
    finally:
        os.close(fd)


def damage(log: Log, recovered: int) -> str | None:
    """What of a log is lost, with ``recovered`` frames taken over by SQLite; None: nothing is.

    A last transaction that is not whole was being written when the process ended: it had not been
    acknowledged.
    """
    if not log.is_readable:
        return f"its header is damaged; none of its {log.bytes} bytes could be taken over"
    lost = [number for number in log.commits if number > recovered]
    if not lost or lost == [log.frames]:
        return None
    return (
        f"frame {recovered + 1} of {log.frames} or one soon after it is damaged;"
        f" {len(lost)} of {len(log.commits)} transactions could not be taken over"
    )


def is_cut_off(log: Log, recovered: int) -> bool:
    """Was the last transaction left out because it is not whole?"""
    return log.is_readable and recovered < log.frames and damage(log, recovered) is None


def _page_bytes(header: bytes) -> int | None:
    """The size of a page; None for a header that SQLite would not accept."""
    if len(header) < HEADER_BYTES:
        return None
    magic, version, page_bytes = struct.unpack(">III", header[:12])
    if magic not in _MAGIC or version != 3_007_000:
        return None
    if not 512 <= page_bytes <= 65_536 or page_bytes & (page_bytes - 1):
        return None
    first = second = 0
    words = struct.unpack(f"{_MAGIC[magic]}6I", header[:24])
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return page_bytes if struct.pack(">II", first, second) == header[24:32] else None
