"""``OutgoingQueue``: datagrams that wait to be sent, those for one channel joined to batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from wsserver.cluster.redis.pubsub_connection import Counted

BATCH_LIMIT = 128
BATCH_LIMIT_BYTES = 64 * 1024
"""Bodies in one datagram; one at least."""
AT_ONCE = 200
AT_ONCE_BYTES = 256 * 1024
"""Datagrams in one write; one at least."""
WAITING_LIMIT = 100_000
WAITING_LIMIT_BYTES = 64 * 1024 * 1024
"""Bodies that may wait to be sent; further ones are dropped."""

BATCHES = {"publish": "publications", "signal": "signals"}
"""Kinds of datagrams that are joined: kind of one body, and of an array of several."""


class Datagram(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is published to a channel."""

    kind: str
    node: str
    """The sender."""
    id: int
    """Links an answer to its request, of a batch to its first body; 0: no answer is wanted."""
    body: bytes


class Batch:
    """One or more bodies of one kind for one channel, which are sent as one datagram."""

    __slots__ = ("bodies", "channel", "counted", "id", "is_counted", "is_open", "kind", "size")

    def __init__(self, channel: str, kind: str, body: bytes, *, is_counted: bool) -> None:
        self.channel = channel
        self.kind = kind
        self.id = 0
        self.is_counted = is_counted
        """Whether it is to be known how many nodes follow the channel."""
        self.counted: Counted | None = None
        """Called with that number, once for all bodies."""
        self.is_open = True
        """Whether further bodies may join."""
        self.bodies = [body]
        self.size = len(body)

    def admits(self, kind: str, size: int, *, is_counted: bool) -> bool:
        """Whether a body may be sent in the same datagram."""
        return (
            self.is_open
            and self.kind == kind
            and self.is_counted == is_counted
            and len(self.bodies) < BATCH_LIMIT
            and self.size + size <= BATCH_LIMIT_BYTES
        )

    def tell(self, counted: Counted) -> None:
        """Call ``counted`` too, once the number of nodes is known."""
        before = self.counted

        def tell_both(count: int | None) -> None:
            if before is not None:
                before(count)
            counted(count)

        self.counted = counted if before is None else tell_both

    def encoded(self, node: str) -> bytes:
        """The datagram. A single body is sent in the form that nodes without batches read."""
        bodies = self.bodies
        if len(bodies) == 1:
            datagram = Datagram(self.kind, node, self.id, bodies[0])
        else:
            datagram = Datagram(BATCHES[self.kind], node, self.id, _array(bodies))
        return msgspec.msgpack.encode(datagram)


class OutgoingQueue:
    """Datagrams in the order in which they are sent, bounded.

    A body joins the last datagram for its channel if that is of its kind: so those for one channel
    keep their order, but may overtake those for other channels that were added meanwhile. Nothing
    overtakes what was added by ``put``. ``may_join``: whether all nodes read batches.
    """

    def __init__(self, node: str, may_join: Callable[[], bool]) -> None:
        self._node = node
        self._may_join = may_join
        self._waiting: deque[Batch] = deque()
        self._last: dict[str, Batch] = {}
        """By channel: the waiting datagram that a body may join."""
        self._count = 0
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(
        self, channel: str, kind: str, body: bytes, *, is_counted: bool = False
    ) -> Batch | None:
        """Add a body of one of ``BATCHES``; returns its datagram, None: dropped."""
        if not self._has_room(body):
            return None
        batch = self._last.get(channel)
        if batch is not None and batch.admits(kind, len(body), is_counted=is_counted):
            batch.bodies.append(body)
            batch.size += len(body)
            return batch
        batch = Batch(channel, kind, body, is_counted=is_counted)
        self._waiting.append(batch)
        self._last.pop(channel, None)  # nothing joins what this one is behind of
        if self._may_join():
            self._last[channel] = batch
        return batch

    def put(self, channel: str, kind: str, body: bytes, id_: int) -> None:
        """Add a datagram of its own, behind all that waits."""
        if self._has_room(body):
            batch = Batch(channel, kind, body, is_counted=False)
            batch.id = id_
            self._waiting.append(batch)
            self._last.clear()

    def take(self) -> list[tuple[str, bytes, Counted | None]]:
        """Take out what is to be sent in one write."""
        taken: list[tuple[str, bytes, Counted | None]] = []
        size = 0
        while self._waiting and len(taken) < AT_ONCE and size < AT_ONCE_BYTES:
            batch = self._take_first()
            size += batch.size
            taken.append((batch.channel, batch.encoded(self._node), batch.counted))
        return taken

    def fail(self) -> None:
        """Drop all that waits."""
        for _ in range(len(self._waiting)):
            counted = self._take_first().counted
            if counted is not None:
                counted(None)

    def _has_room(self, body: bytes) -> bool:
        if self._count >= WAITING_LIMIT or self._bytes + len(body) > WAITING_LIMIT_BYTES:
            return False
        self._count += 1
        self._bytes += len(body)
        return True

    def _take_first(self) -> Batch:
        batch = self._waiting.popleft()
        self._count -= len(batch.bodies)
        self._bytes -= batch.size
        batch.is_open = False
        if self._last.get(batch.channel) is batch:
            del self._last[batch.channel]
        return batch


def _array(bodies: list[bytes]) -> bytes:
    """An array of values that are encoded as MessagePack."""
    head = b"\xdc" + len(bodies).to_bytes(2, "big")
    return head + b"".join(bodies)
