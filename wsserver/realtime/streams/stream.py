"""One stream in memory: where it stands, and its latest messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Raw, Struct

from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import positioned
from wsserver.protocol.types import Position
from wsserver.realtime.messages.audience import Audience, read_audience
from wsserver.storage.messages.streams import Kept

EPOCH_CHANGED = "epoch_changed"
OFFSET_AHEAD = "offset_ahead"
EXPIRED = "expired"
TOO_FAR_BEHIND = "too_far_behind"
TAIL_LIMIT_BYTES = 4 * 1024 * 1024
"""Of the latest messages of one stream in memory. What may be sent to one connection at once is
less by default, so that more would serve nobody."""


class CachedMessage(Struct, frozen=True, gc=False):
    """A kept message, ready to be sent again."""

    offset: int
    payload: bytes
    """The whole push, as it was sent live."""
    expires_at: float
    """Wall-clock seconds."""
    has_ttl: bool
    """Does it expire before its stream's retention takes it?"""
    audience: Audience | None
    """None: everybody."""


def cached_message(kept: Kept, stream: str, epoch: str) -> CachedMessage:
    """A message as storage has it, made ready to be sent."""
    payload = positioned(kept.payload, stream, epoch, kept.offset)
    return CachedMessage(
        kept.offset, payload, kept.expires_at, bool(kept.has_ttl), read_audience(kept.audience)
    )


class Recovery(NamedTuple):
    """What somebody gets who comes back with a position."""

    epoch: str
    offset: int
    """Where the stream stands: everything up to here was sent or is in ``messages``."""
    messages: list[bytes]
    reason: str | None
    """Why what was missed cannot be given; None: it is all there."""

    @property
    def position(self) -> dict[str, Any]:
        """Where the stream stands, as clients are given it."""
        return {"epoch": self.epoch, "offset": self.offset}

    @property
    def is_complete(self) -> bool:
        """Is everything after the position in ``messages``?"""
        return self.reason is None

    @property
    def size(self) -> int:
        """Bytes of the messages, as they stand in an answer."""
        return sum([len(message) + 1 for message in self.messages])

    def answer(self) -> dict[str, Any]:
        """How a client is told of it."""
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

    The tail holds every message after ``floor`` that has not run out of its ttl before: the latest
    ones, ``tail_limit`` messages and ``tail_limit_bytes`` at most.
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
        """The next message of the stream is on its way to everybody."""
        self.head = entry.offset
        if self._tail is None:
            self._tail = deque()
        self._tail.append(entry)
        self.tail_bytes += len(entry.payload)
        while len(self._tail) > self._tail_limit or self.tail_bytes > self._tail_limit_bytes:
            oldest = self._tail.popleft()
            self.floor = oldest.offset
            self.tail_bytes -= len(oldest.payload)

    @property
    def room_bytes(self) -> int:
        """Bytes of older messages that there is room for."""
        return self._tail_limit_bytes - self.tail_bytes

    def prepend(self, older: Sequence[CachedMessage], after: int, until: int) -> None:
        """Put messages read from storage before the tail: all with ``after < offset <= until``.

        Ignored where there is no room for them, or the tail does not begin behind ``until``.
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

    def drop_tail(self) -> None:
        """Hold no messages any more, only the position."""
        self._tail = None
        self.floor = self.head
        self.tail_bytes = 0

    def after(self, offset: int) -> Sequence[CachedMessage] | None:
        """The messages after an offset; None if not all of them are in memory."""
        if offset >= self.head:
            return ()
        if offset < self.floor or self._tail is None:
            return None
        # At most ``head - offset`` of them are meant, and those stand at the end.
        skip = max(0, len(self._tail) - (self.head - offset))
        return [entry for entry in islice(self._tail, skip, None) if entry.offset > offset]

    def refusal(self, since: Position, limit: int) -> str | None:
        """Why nobody can be brought up to date from this position, as far as memory tells."""
        if since.epoch != self.epoch:
            return EPOCH_CHANGED
        if since.offset > self.head:
            return OFFSET_AHEAD
        if self.head - since.offset > limit:
            return TOO_FAR_BEHIND
        return None

    def failed(self, reason: str) -> Recovery:
        """Nothing can be given but the position."""
        return Recovery(self.epoch, self.head, [], reason)

    def recovery(
        self, entries: Iterable[CachedMessage], claims: Claims, now: float, budget: int
    ) -> Recovery:
        """Everything in ``entries`` that is for somebody, or none of it and why.

        ``entries``: all messages after the position; ``budget``: bytes that may be sent.
        """
        messages: list[bytes] = []
        for entry in entries:
            if entry.expires_at <= now:
                if not entry.has_ttl:
                    return self.failed(EXPIRED)
                continue
            if entry.audience is not None and not entry.audience.admits(claims):
                continue
            budget -= len(entry.payload) + 1
            if budget < 0:
                return self.failed(TOO_FAR_BEHIND)
            messages.append(entry.payload)
        return Recovery(self.epoch, self.head, messages, None)
