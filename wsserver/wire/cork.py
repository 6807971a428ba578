"""Cork: holds small frames back until the loop's next turn, so that each connection gets one write.

The answers to fifty commands in one read, or the messages of one transaction, are many small frames
to the same few connections: the system calls would cost more than the rest.
"""

from __future__ import annotations

from wsserver.wire.outbox import Link
from wsserver.wire.readiness import Loop
from wsserver.wire.transport import Transport


class Cork:
    """While it ``is_in``, ``Transport.send`` collects frames; the loop's next turn writes them.

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
        """Write the held frames, one write a connection, and hold none from now on."""
        self.is_in = False
        self.flush()

    def flush(self) -> None:
        """Write the held frames."""
        if not self._held:
            return
        held, self._held = self._held, {}
        was_in, self.is_in = self.is_in, False
        for transport in held:
            link = transport.collected
            if link is not None:  # None: sent before a frame that could not wait
                transport.collected = None
                transport.send(link.join())
        self.is_in = was_in

    def hold(self, transport: Transport, frame: bytes) -> bool:
        """Hold a frame for a connection that has nothing queued; False: it has to be sent now.

        False without a cork, above the limit, and behind a broadcast that waits for the end of its
        window, because a reply must not wait for it.
        """
        if not self.is_in:
            return False
        link = transport.collected
        if link is not None and transport not in self._held:
            return False
        link = Link(link, frame)
        if link.size > self._limit_bytes:
            return False
        transport.collected = link
        self._held[transport] = None
        return True
