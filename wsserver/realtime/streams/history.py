"""Looking back into a stream, page by page."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from wsserver.identity.claims import Claims
from wsserver.realtime.messages.audience import read_audience
from wsserver.realtime.streams.stream import Stream, cached_message
from wsserver.storage.messages.streams import Admits, Slice, Wanted

READ_AT_LEAST = 50
"""Messages read at once: most are for everybody, so that one look is enough."""
READ_BYTES = 1024 * 1024
"""Read at once, so that a large page gives others their turn in between."""


class Store(Protocol):
    """What is needed of the storage."""

    async def read(self, wanted: Wanted) -> Slice:
        """The first messages of a range, ascending."""
        ...

    async def read_back(self, wanted: Wanted) -> Slice:
        """The last messages of a range, ascending."""
        ...


class History(msgspec.Struct, frozen=True):
    """A page of a stream, ascending."""

    epoch: str
    messages: list[bytes]
    has_more: bool
    """Are there further ones in the direction of reading?"""

    def answer(self) -> dict[str, Any]:
        """The page as clients get it."""
        return {
            "messages": [msgspec.Raw(message) for message in self.messages],
            "epoch": self.epoch,
            "has_more": self.has_more,
        }


async def read_page(
    store: Store,
    stream: Stream,
    claims: Claims | None,
    now: float,
    before: int | None,
    after: int | None,
    limit: int,
    budget: int,
) -> History:
    """The first ``limit`` messages after an offset, or the last ones, before an offset or of all.

    As many as the stream has for somebody, whatever lies between them that is for others or has
    expired; never what is not published yet. Arguments as those of ``Streams.history``.
    """
    forward = after is not None and before is None
    low = after or 0
    high = stream.head + 1 if before is None else min(before, stream.head + 1)
    read = store.read if forward else store.read_back
    page: list[bytes] = []
    has_more = False
    while low + 1 < high and not has_more:
        count = max(limit + 1 - len(page), READ_AT_LEAST)
        room = min(budget, READ_BYTES)
        is_last = room < READ_BYTES
        room = room if page else max(1, room)  # one at least, so that reading gets on
        part = await read(Wanted(stream.name, low, high - 1, now, count, room, admits_for(claims)))
        for kept in part.messages if forward else reversed(part.messages):
            if kept.expires_at <= now:
                continue
            payload = cached_message(kept, stream.name, stream.epoch).payload
            if len(page) == limit or (page and len(payload) + 1 > budget):
                has_more = True
                break
            budget -= len(payload) + 1
            page.append(payload)
        if part.rest is None:
            break
        if part.is_over and is_last and page:
            has_more = True
        low, high = (part.rest, high) if forward else (low, part.rest)
    return History(stream.epoch, page if forward else page[::-1], has_more)


def admits_for(claims: Claims | None) -> Admits | None:
    """Which audiences somebody belongs to; None: somebody who may see all."""
    if claims is None:
        return None

    def admits(stored: str | None) -> bool:
        audience = read_audience(stored)
        return audience is None or audience.admits(claims)

    return admits
