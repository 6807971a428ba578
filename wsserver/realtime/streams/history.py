"""History: pages of stored messages of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from wsserver.identity.claims import Claims
from wsserver.realtime.messages.audience import read_audience
from wsserver.realtime.streams.cached_message import cached_message
from wsserver.realtime.streams.stream import Stream
from wsserver.storage.messages.streams import Admits, StreamStore, Wanted

READ_AT_LEAST = 50
"""Messages in one query, at least: few have an audience, so one query mostly suffices."""
READ_BYTES = 1024 * 1024
"""Bytes in one query, so that a large page lets other readers in between."""


class History(msgspec.Struct, frozen=True):
    """A page of a stream, ascending."""

    epoch: str
    messages: list[bytes]
    has_more: bool
    """Whether there are further messages in the direction of reading."""

    def answer(self) -> dict[str, Any]:
        """The page as it is sent to clients."""
        return {
            "messages": [msgspec.Raw(message) for message in self.messages],
            "epoch": self.epoch,
            "has_more": self.has_more,
        }


async def read_page(
    store: StreamStore,
    stream: Stream,
    claims: Claims | None,
    now: float,
    *,
    before: int | None,
    after: int | None,
    since: float | None,
    until: float | None,
    limit: int,
    budget: int,
    with_changes: bool,
) -> History:
    """The first ``limit`` messages after an offset, or the last ones, before an offset or of all.

    Messages with another audience, of another time and expired ones are skipped; messages that are
    not published yet are not read. Arguments as those of ``Streams.history``.
    """
    forward = after is not None and before is None
    low = after or 0
    high = stream.head + 1 if before is None else min(before, stream.head + 1)
    if since is not None or until is not None:
        span = await store.span(stream.name, since, until)
        low, high = max(low, span.after), min(high, span.until + 1)
    read = store.read if forward else store.read_back
    page: list[bytes] = []
    has_more = False
    while low + 1 < high and not has_more:
        count = max(limit + 1 - len(page), READ_AT_LEAST)
        room = min(budget, READ_BYTES)
        is_last = room < READ_BYTES
        room = room if page else max(1, room)  # one message at least, to make progress
        wanted = Wanted(stream.name, low, high - 1, now, count, room, admits_for(claims))
        wanted = wanted._replace(since=since, before=until, with_changes=with_changes)
        part = await read(wanted)
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


class _Sender(msgspec.Struct):
    user_id: str = ""


class _Message(msgspec.Struct):
    id: str = ""
    sender: _Sender = msgspec.field(default_factory=_Sender)


class _Push(msgspec.Struct):
    type: str = ""
    offset: int = 0
    message: _Message = msgspec.field(default_factory=_Message)


_PUSH = msgspec.json.Decoder(_Push)


def own_messages(pushes: Iterable[bytes], user_id: str) -> dict[int, str]:
    """The ids of a user's own messages among kept pushes, by offset."""
    found = {}
    for push in pushes:
        if b'"new_message"' in push:
            read = _PUSH.decode(push)
            if read.type == "new_message" and read.message.sender.user_id == user_id:
                found[read.offset] = read.message.id
    return found


def admits_for(claims: Claims | None) -> Admits | None:
    """A filter of stored audiences for a user; None: all messages."""
    if claims is None:
        return None

    def admits(stored: str | None) -> bool:
        audience = read_audience(stored)
        return audience is None or audience.admits(claims)

    return admits
