"""``Sequencer``: decides which messages of one stream are delivered on a node, and when.

Several nodes publish to a stream. What arrives by pub/sub may be late, doubled, out of order
between publishers, or missing; the database has the order. No input or output: ``StreamFollower``
reads and delivers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

HELD_LIMIT = 256
HELD_LIMIT_BYTES = 1024 * 1024
"""Received messages of one stream that wait for older ones; further ones are read from storage."""


class ByteBudget:
    """Bytes that may be held in all streams of a node together."""

    __slots__ = ("left",)

    def __init__(self, limit_bytes: int) -> None:
        self.left = limit_bytes


class Held(NamedTuple, Generic[T]):
    """A message that waits for older ones."""

    item: T
    size: int


class Sequencer(Generic[T]):
    """Position of a node in a stream: everything up to ``delivered`` of ``epoch`` is delivered.

    Each message is given out once, in the order of offsets. ``epoch`` is None until the position is
    known: then the first message that is received decides, or ``start``.
    """

    __slots__ = ("_held", "_held_bytes", "_room", "delivered", "epoch", "is_doubtful", "target")

    def __init__(self, room: ByteBudget) -> None:
        self.epoch: str | None = None
        self.delivered = 0
        self.target = 0
        """The highest offset that is known to be stored."""
        self.is_doubtful = False
        """Whether there may be another epoch, which only the database can settle."""
        self._held: dict[int, Held[T]] | None = None
        self._held_bytes = 0
        self._room = room

    @property
    def is_behind(self) -> bool:
        """Whether messages have to be read from the database, unless they arrive soon."""
        return self.target > self.delivered or self.is_doubtful

    @property
    def has_gap(self) -> bool:
        """Whether it is certain that messages are missing: later ones wait, or of another epoch."""
        return self._held is not None or self.is_doubtful

    def has(self, epoch: str, offset: int) -> bool:
        """Whether everything up to an offset is delivered."""
        return epoch == self.epoch and offset <= self.delivered

    def start(self, epoch: str, offset: int) -> None:
        """Begin after an offset: older messages are not delivered."""
        self.epoch = epoch
        self.delivered = self.target = offset
        self.is_doubtful = False
        self._drop_held()

    def expect(self, epoch: str, offset: int) -> None:
        """Note the end of the stream in the database, which may be out of date by now."""
        if epoch != self.epoch:
            self.is_doubtful = True
        elif offset > self.target:
            self.target = offset

    def received(self, epoch: str, offset: int, item: T, size: int) -> list[T] | None:
        """What is to be delivered now that a message was published to this node.

        None: it was delivered before. Empty: it waits, or will be read from storage.
        """
        if self.epoch is None:
            self.start(epoch, offset - 1)
        if epoch != self.epoch:
            self.is_doubtful = True
            return []
        if offset <= self.delivered:
            return None
        if offset > self.delivered + 1:
            self.target = max(self.target, offset)
            self._hold(offset, item, size)
            return []
        self.delivered = offset
        if offset > self.target:
            self.target = offset
        return [item] if self._held is None else [item, *self._following()]

    def takes_next(self, epoch: str, offset: int) -> bool:
        """Whether a message is the next one, and none waits for it: then it is given out."""
        if self._held is not None or epoch != self.epoch or offset != self.delivered + 1:
            return False
        self.delivered = offset
        if offset > self.target:
            self.target = offset
        return True

    def reading(self) -> int:
        """The offset after which the database is to be read; ``page`` has the result."""
        self.is_doubtful = False  # one that arises meanwhile is kept
        return self.delivered

    def page(self, epoch: str, until: int, end: int, items: Iterable[tuple[int, T]]) -> list[T]:
        """What is to be delivered now that a part of the stream was read, from ``reading`` on.

        ``items`` are all messages up to ``until``, by offset; those that are missing are deleted or
        expired. ``end``: of the stream, in the same snapshot. With another epoch the stream was
        pruned and begun anew: all of it was read, and all of it is delivered. Pages of a stream are
        read one after the other, so that an older epoch never follows a newer one.
        """
        if epoch != self.epoch:
            self.start(epoch, 0)
        self.target = max(self.target, end)
        ready: list[T] = []
        for offset, item in items:
            if offset > self.delivered:
                self.delivered = offset
                ready.append(item)
        self.delivered = max(self.delivered, until)
        if self._held is not None:
            ready += self._following()
        return ready

    def give_up(self) -> None:
        """Forget an end that the database does not have (yet); what is held stays."""
        self.target = self.delivered

    def _hold(self, offset: int, item: T, size: int) -> None:
        if self._held is None:
            self._held = {}
        if (
            offset in self._held
            or len(self._held) >= HELD_LIMIT
            or self._held_bytes + size > HELD_LIMIT_BYTES
            or size > self._room.left
        ):
            return
        self._held[offset] = Held(item, size)
        self._count(size)

    def _following(self) -> list[T]:
        """Take out the held messages that follow without a gap, and drop older ones."""
        held = self._held
        if held is None:
            return []
        ready: list[T] = []
        while (found := held.pop(self.delivered + 1, None)) is not None:
            self.delivered += 1
            self._count(-found.size)
            ready.append(found.item)
        self.target = max(self.target, self.delivered)
        for offset in [each for each in held if each <= self.delivered]:
            self._count(-held.pop(offset).size)
        if not held:
            self._held = None
        return ready

    def _drop_held(self) -> None:
        self._count(-self._held_bytes)
        self._held = None

    close = _drop_held
    """Give the room of held messages back: the stream is not followed any more."""

    def _count(self, size: int) -> None:
        self._held_bytes += size
        self._room.left -= size
