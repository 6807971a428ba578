"""Holds frames back for a moment in which more will follow, so that each connection gets one write.

Answering fifty commands that came in one read, or announcing what one transaction has stored, sends
many small frames to the same few connections: the system calls would cost more than the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsserver.wire.outbox import Link
from wsserver.wire.readiness import Loop

if TYPE_CHECKING:
    from wsserver.wire.transport import Transport


class Cork:
    """While it is in, ``Transport.send`` collects; the loop's next turn takes it out again.

    At most ``limit_bytes`` are held for one connection.
    """

    __slots__ = ("_held", "_limit_bytes", "_loop", "is_in")

    def __init__(self, loop: Loop, limit_bytes: int) -> None:
        self.is_in = False
        self._loop = loop
        self._limit_bytes = limit_bytes
        self._held: dict[Transport, None] = {}
        """Connections with frames to be written, in the order of their first one."""

    def put_in(self) -> None:
        """Hold frames back from now on, until the loop's next turn at the latest."""
        if not self.is_in:
            self.is_in = True
            self._loop.add_callback(self.pull_out)

    def pull_out(self) -> None:
        """Write what is held, one write a connection, and hold nothing back any more."""
        self.is_in = False
        self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if not self._held:
            return
        held, self._held = self._held, {}
        was_in, self.is_in = self.is_in, False
        for transport in held:
            link = transport._pending
            if link is not None:  # otherwise something that could not wait has taken it along
                transport._pending = None
                transport.send(link.join())
        self.is_in = was_in

    def hold(self, transport: Transport, frame: bytes) -> bool:
        """Keep a frame for a connection that has nothing queued; False: it is to be sent now.

        So it is when there is no cork, when it would be too much, and behind a broadcast that waits
        for the end of its window: a reply shall not.
        """
        if not self.is_in:
            return False
        link = transport._pending
        if link is not None and transport not in self._held:
            return False
        link = Link(link, frame)
        if link.size > self._limit_bytes:
            return False
        transport._pending = link
        self._held[transport] = None
        return True
