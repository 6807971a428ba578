"""Finds corruption in a write-ahead log: commits in the log that SQLite does not recover.

After a crash SQLite recovers the log up to the first frame with a wrong checksum, and does not
report what follows. Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
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
"""Byte order of the checksums by magic number."""


class Log(NamedTuple):
    """The headers of a write-ahead log; the checksums of its frames are not verified."""

    bytes: int
    is_readable: bool
    """Whether the log's own header is valid; otherwise SQLite recovers nothing."""
    frames: int
    """Number of frames, without those left behind them by an earlier round of the log."""
    commits: tuple[int, ...]
    """Numbers, from 1, of the frames that end a transaction."""


def read_log(database: Path) -> Log | None:
    """Read the headers of a database's log; None: missing or empty.

    Reads 24 bytes a frame: about 20 ms for 60 MB.
    """
    try:
        fd = os.open(wal_of(database), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # missing, or opening the database will report the error
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


def damage(database: Path) -> str | None:
    """Describe the commits in a log that SQLite would not recover after a crash; None: none.

    Computes the checksums of all frames: about 2 s for 60 MB. A server may be running.
    """
    log = read_log(database)
    while log is not None:
        found = lost_commits(log, _whole_frames(database, log))
        if found is None:
            return None
        again = read_log(database)
        if again == log:
            return found
        log = again  # a running server has written to it meanwhile
    return None


def _whole_frames(database: Path, log: Log) -> int:
    """The number of frames, from the first one, whose checksums are right."""
    if not log.is_readable:
        return 0
    with wal_of(database).open("rb") as file:
        header = file.read(HEADER_BYTES)
        page_bytes = _page_bytes(header)
        if page_bytes is None:
            return 0
        order = _MAGIC[int.from_bytes(header[:4], "big")]
        sums = struct.unpack(">II", header[24:32])
        for number in range(log.frames):
            frame = file.read(FRAME_HEADER_BYTES)
            page = file.read(page_bytes)
            if len(page) < page_bytes or frame[8:16] != header[16:24]:
                return number
            sums = _checksum(order, frame[:8] + page, sums)
            if struct.pack(">II", *sums) != frame[16:24]:
                return number
    return log.frames


def lost_commits(log: Log, recovered: int) -> str | None:
    """Describe the commits that were lost when SQLite recovered that many frames; None: none.

    An incomplete last transaction is not counted: it was being written when the process ended, and
    had not been acknowledged.
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
    """Whether the last transaction was dropped because it is incomplete."""
    return log.is_readable and recovered < log.frames and lost_commits(log, recovered) is None


def _page_bytes(header: bytes) -> int | None:
    """The page size; None for a header that SQLite would reject."""
    if len(header) < HEADER_BYTES:
        return None
    magic, version, page_bytes = struct.unpack(">III", header[:12])
    if magic not in _MAGIC or version != 3_007_000:
        return None
    if not 512 <= page_bytes <= 65_536 or page_bytes & (page_bytes - 1):
        return None
    sums = _checksum(_MAGIC[magic], header[:24], (0, 0))
    return page_bytes if struct.pack(">II", *sums) == header[24:32] else None


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """The checksum of some bytes that follow those with the checksum ``sums``."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
