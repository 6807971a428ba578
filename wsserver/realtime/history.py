"""Looking back into a stream, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from wsserver.identity.claims import Claims
from wsserver.realtime.stream import Entry, Stream, entry_of
from wsserver.storage.streams import Kept

READ_AT_LEAST = 50
"""Messages read at once: most are for everybody, so that one look is enough."""


class Store(Protocol):
    """What is needed of the storage."""

    async def read(self, stream: str, after: int, until: int, now: float, limit: int) -> list[Kept]:
        """The messages with ``after < offset <= until``, ascending."""
        ...

    async def read_back(
        self, stream: str, before: int, after: int, now: float, limit: int
    ) -> list[Kept]:
        """The last ones with ``after < offset < before``, ascending."""
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
    budget: int | None,
) -> History:
    """The first ``limit`` messages after an offset, or the last ones, before an offset or of all.

    As many as the stream has for somebody, whatever lies between them that is for others or has
    expired; never what is not published yet. Arguments as those of ``Streams.history``.
    """
    forward = after is not None and before is None
    low = after or 0
    high = stream.head + 1 if before is None else min(before, stream.head + 1)
    found: list[Entry] = []
    count = max(limit + 1, READ_AT_LEAST)
    while low + 1 < high and len(found) <= limit:
        if forward:
            kept = await store.read(stream.name, low, high - 1, now, count)
        else:
            kept = await store.read_back(stream.name, high, low, now, count)
            kept.reverse()
        entries = [entry_of(each, stream.name, stream.epoch) for each in kept]
        found += [each for each in entries if each.expires_at > now and _is_for(each, claims)]
        if len(kept) < count:
            break
        low, high = (kept[-1].offset, high) if forward else (low, kept[-1].offset)
    page = _within(found[:limit], budget)
    has_more = len(page) < len(found)
    return History(stream.epoch, page if forward else page[::-1], has_more)


def _is_for(entry: Entry, claims: Claims | None) -> bool:
    """May somebody see a message? None: somebody who may see all."""
    return claims is None or entry.audience is None or entry.audience.admits(claims)


def _within(entries: Iterable[Entry], budget: int | None) -> list[bytes]:
    """The first ones that a budget suffices for; one at least, so that reading gets on."""
    page: list[bytes] = []
    for entry in entries:
        if budget is not None:
            budget -= len(entry.payload) + 1
            if budget < 0 and page:
                break
        page.append(entry.payload)
    return page
