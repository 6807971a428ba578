"""Queues of one connection: ``Outbox`` of bytes for its socket, ``Link`` of collected frames."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import Final

_BUFFERS_PER_WRITE: Final = 64
"""Frames handed to one ``writev``; well below every system's IOV_MAX."""


class Outbox:
    """FIFO of frames, the first perhaps written in part. Frames are shared, never copied."""

    __slots__ = ("_frames", "_offset", "since", "size")

    def __init__(self, since: float) -> None:
        self.since = since
        """When its first frame began to wait (monotonic seconds)."""
        self._frames: deque[bytes] = deque()
        self._offset = 0
        """Bytes of the first frame that have been written."""
        self.size = 0
        """Bytes waiting."""

    def append(self, frame: bytes, written: int = 0) -> None:
        """Queue a frame; ``written`` bytes of it are out already (only into an empty outbox)."""
        self._frames.append(frame)
        self.size += len(frame) - written
        if written:
            self._offset = written

    def write_to(self, fd: int) -> int:
        """Write as much as one system call takes; return the bytes written, 0 when it would block.

        Raises ``OSError`` when the connection is broken.
        """
        buffers: list[bytes | memoryview] = list(islice(self._frames, _BUFFERS_PER_WRITE))
        if not buffers:
            return 0
        if self._offset:
            buffers[0] = memoryview(buffers[0])[self._offset :]
        try:
            written = os.writev(fd, buffers)
        except BlockingIOError:
            return 0
        self.size -= written
        reached = self._offset + written
        while self._frames and reached >= len(self._frames[0]):
            reached -= len(self._frames.popleft())
        self._offset = reached
        return written

    def drop_unstarted(self) -> None:
        """Drop everything but the rest of a frame that was written in part."""
        started = self._frames[0] if self._offset else None
        self._frames.clear()
        self.size = 0
        if started is not None:
            self.append(started, self._offset)


class Link:
    """Linked list of collected frames, from the last to the first.

    Connections with the same frames share one link, and so one joined bytes object: a delivery
    costs one attribute store while frames are collected.
    """

    __slots__ = ("_frame", "_joined", "_parent", "size")

    def __init__(self, parent: Link | None, frame: bytes) -> None:
        self._parent = parent
        self._frame = frame
        self._joined: bytes | None = frame if parent is None else None
        self.size: int = len(frame) if parent is None else parent.size + len(frame)
        """Bytes of this frame and all before it."""

    def join(self) -> bytes:
        """All frames in one bytes object, made once for all connections."""
        if self._joined is None:
            frames: list[bytes] = []
            link: Link | None = self
            while link is not None:
                if link._joined is not None:
                    frames.append(link._joined)
                    break
                frames.append(link._frame)
                link = link._parent
            frames.reverse()
            self._joined = b"".join(frames)
            self._parent = None
        return self._joined
