"""``Stream``: a cached stream, with its position and latest messages; ``Recovery`` of a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from wsserver.identity.claims import Claims
from wsserver.protocol.revisions import replace_message
from wsserver.protocol.types import Position
from wsserver.realtime.streams.cached_message import CachedMessage

EPOCH_CHANGED = "epoch_changed"
OFFSET_AHEAD = "offset_ahead"
EXPIRED = "expired"
TOO_FAR_BEHIND = "too_far_behind"
TAIL_LIMIT_BYTES = 4 * 1024 * 1024
"""Bytes of the latest messages of one stream in memory. More than may be queued for one connection
by default, so that a larger tail would never be sent."""


class Recovery(NamedTuple):
    """Result of resuming a stream from a position: the missed messages, or why they are lost."""

    epoch: str
    offset: int
    """End of the stream: everything up to here was sent or is in ``messages``."""
    messages: list[bytes]
    reason: str | None
    """Why missed messages cannot be replayed; None: they all are in ``messages``."""

    @property
    def position(self) -> dict[str, Any]:
        """The end of the stream, as it is sent to clients."""
        return {"epoch": self.epoch, "offset": self.offset}

    @property
    def is_complete(self) -> bool:
        """Whether all messages after the position are in ``messages``."""
        return self.reason is None

    @property
    def size(self) -> int:
        """Bytes of the messages in an answer, with their separators."""
        return sum([len(message) + 1 for message in self.messages])

    def answer(self) -> dict[str, Any]:
        """The members of the answer to the client."""
        answer: dict[str, Any] = {
            "recovered": self.is_complete,
            "epoch": self.epoch,
            "offset": self.offset,
            "messages": [Raw(message) for message in self.messages],
        }
        if self.reason is not None:
            answer["reason"] = self.reason
        return answer


class Stream:
    """Position and tail of a stream. ``head`` is the offset of the last PUBLISHED message.

    The tail has all messages after ``floor``, except for those whose own ttl has expired: at most
    ``tail_limit`` messages and ``tail_limit_bytes``.
    """

    __slots__ = (
        "_tail",
        "_tail_limit",
        "_tail_limit_bytes",
        "epoch",
        "floor",
        "head",
        "name",
        "tail_bytes",
    )

    def __init__(
        self,
        name: str,
        epoch: str,
        head: int,
        tail_limit: int = 1000,
        tail_limit_bytes: int = TAIL_LIMIT_BYTES,
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.head = head
        self.floor = head
        self.tail_bytes = 0
        self._tail: deque[CachedMessage] | None = None
        self._tail_limit = tail_limit
        self._tail_limit_bytes = tail_limit_bytes

    def published(self, entry: CachedMessage) -> None:
        """Add the next message of the stream, which is about to be published."""
        self.head = entry.offset
        tail = self._tail
        if tail is None:
            tail = self._tail = deque()
        tail.append(entry)
        self.tail_bytes += len(entry.payload)
        if len(tail) > self._tail_limit or self.tail_bytes > self._tail_limit_bytes:
            self._shrink()

    def _shrink(self) -> None:
        """Remove the oldest messages beyond the limits."""
        tail = self._tail
        while tail and (len(tail) > self._tail_limit or self.tail_bytes > self._tail_limit_bytes):
            oldest = tail.popleft()
            self.floor = oldest.offset
            self.tail_bytes -= len(oldest.payload)

    @property
    def room_bytes(self) -> int:
        """Free space in the tail, in bytes."""
        return self._tail_limit_bytes - self.tail_bytes

    def prepend(self, older: Sequence[CachedMessage], after: int, until: int) -> None:
        """Add messages read from storage before the tail: all with ``after < offset <= until``.

        Ignored if they do not fit, or if the tail does not start right after ``until``.
        """
        tail = self._tail if self._tail is not None else deque()
        size = sum([len(entry.payload) for entry in older])
        if not after < until == self.floor or len(older) + len(tail) > self._tail_limit:
            return
        if size > self.room_bytes:
            return
        tail.extendleft(reversed(older))
        self._tail = tail
        self.floor = after
        self.tail_bytes += size

    def trim(self, first_offset: int) -> None:
        """Remove the messages before an offset, which retention has deleted."""
        tail = self._tail
        while tail and tail[0].offset < first_offset:
            self.tail_bytes -= len(tail.popleft().payload)
        self.floor = max(self.floor, min(first_offset - 1, self.head))

    def change(self, offset: int, revision: int, message: bytes) -> None:
        """Put the new version of a message at its offset, and into the records of its changes.

        ``message``: the member of the push. A version that is not newer is ignored.
        """
        if self._tail is None:
            return
        for index, entry in enumerate(self._tail):
            if offset in (entry.offset, entry.changes) and entry.revision < revision:
                payload = replace_message(entry.payload, message)
                self._tail[index] = replace(entry, payload=payload, revision=revision)
                self.tail_bytes += len(payload) - len(entry.payload)
        self._shrink()

    def outdate(self, offset: int, revision: int) -> None:
        """Remove a message and all before it, unless this version or a newer one is there."""
        tail = self._tail or ()
        if any(entry.offset == offset and entry.revision < revision for entry in tail):
            self.trim(offset + 1)

    def drop_tail(self) -> None:
        """Remove all messages and keep the position."""
        self._tail = None
        self.floor = self.head
        self.tail_bytes = 0

    def after(self, offset: int) -> Sequence[CachedMessage] | None:
        """The messages after an offset; None if not all of them are in the tail."""
        if offset >= self.head:
            return ()
        if offset < self.floor or self._tail is None:
            return None
        # They are the last ``head - offset`` ones at most.
        skip = max(0, len(self._tail) - (self.head - offset))
        return [entry for entry in islice(self._tail, skip, None) if entry.offset > offset]

    def refusal(self, since: Position, limit: int) -> str | None:
        """Why a client cannot resume from this position; None: not known from the cache."""
        if since.epoch != self.epoch:
            return EPOCH_CHANGED
        if since.offset > self.head:
            return OFFSET_AHEAD
        if self.head - since.offset > limit:
            return TOO_FAR_BEHIND
        return None

    def failed(self, reason: str) -> Recovery:
        """A recovery without messages, for a reason."""
        return Recovery(self.epoch, self.head, [], reason)

    def recovery(
        self,
        entries: Iterable[CachedMessage],
        claims: Claims,
        now: float,
        oldest: float,
        budget: int,
        with_changes: bool = True,
    ) -> Recovery:
        """The messages for a user, or none of them and the reason.

        ``entries``: all messages after the position; ``oldest``: time (epoch seconds) up to which
        messages are only in the archive; ``budget``: bytes that may be sent; ``with_changes``: also
        change records.
        """
        messages: list[bytes] = []
        for entry in entries:
            if entry.changes and not with_changes:
                continue
            if entry.has_ttl and entry.expires_at <= now:
                continue
            if entry.at <= oldest or entry.expires_at <= now:
                return self.failed(EXPIRED)
            if entry.audience is not None and not entry.audience.admits(claims):
                continue
            budget -= len(entry.payload) + 1
            if budget < 0:
                return self.failed(TOO_FAR_BEHIND)
            messages.append(entry.payload)
        return Recovery(self.epoch, self.head, messages, None)
