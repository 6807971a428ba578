"""Counters of bytes, frames, writes and connections since the start."""

from __future__ import annotations


class Counters:
    """Totals since the start of a poller."""

    __slots__ = (
        "adopted",
        "bytes_in",
        "bytes_out",
        "changes",
        "frames_in",
        "slow_consumers",
        "writes",
    )

    def __init__(self) -> None:
        self.adopted = 0
        """Connections taken over."""
        self.bytes_in = 0
        self.bytes_out = 0
        """Bytes the operating system has accepted, greetings included."""
        self.changes = 0
        """How often a frame could no longer be written directly to a connection: because bytes wait
        for its socket, or because it is closing or closed."""
        self.frames_in = 0
        """Complete messages and control frames received."""
        self.writes = 0
        """Writes to sockets; fewer than frames where frames were collected."""
        self.slow_consumers = 0
        """Connections ended because they did not read (4002)."""
