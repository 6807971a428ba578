"""Random sequences of stream operations, compared with a simple model in memory."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_clock import FakeClock
from tests.support.message_rows import NOW, message, wanted
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages.receipts import Change, ReceiptStore
from wsserver.storage.messages.streams import Append, Expired, StreamStore

STREAMS = ("session:s1", "user:u1", "user:u2")
USERS = ("u1", "u2")
RETENTION_S = 20


@dataclass
class Stream:
    """One stream of the model: messages by offset."""

    last: int = 0
    first: int = 1
    messages: dict[int, Append] = field(default_factory=dict)


class Model:
    """Streams, receipts and cursors as plain dictionaries."""

    def __init__(self) -> None:
        self.streams = {name: Stream() for name in STREAMS}
        self.rank: list[str] = []
        self.known: dict[object, tuple[str, str, int]] = {}
        self.got: set[tuple[str, str]] = set()
        self.read: set[tuple[str, str]] = set()
        self.cursors: dict[tuple[str, str], int] = {}

    def append(self, item: Append) -> tuple[str, str, int, bool]:
        first = self.known.get(item.dedup) if item.dedup else None
        if first is None and item.message_id in self.stored():
            first = self.known[item.message_id]
        if first is not None:
            return (*first, False)
        stream = self.streams[item.stream]
        stream.last += 1
        stream.messages[stream.last] = item
        place = (item.message_id, item.stream, stream.last)
        self.known[item.message_id] = place
        if item.dedup:
            self.known[item.dedup] = place
        if item.stream not in self.rank:
            self.rank.append(item.stream)
        return (*place, True)

    def stored(self) -> dict[str, tuple[str, int, Append]]:
        return {
            item.message_id: (name, offset, item)
            for name, stream in self.streams.items()
            for offset, item in stream.messages.items()
        }

    def has(self, user: str, name: str, offset: int) -> bool:
        item = self.streams[name].messages[offset]
        return (item.message_id, user) in self.got or self.cursors.get((name, user), 0) >= offset

    def is_pending(self, name: str, offset: int) -> bool:
        return name.startswith("user:") and not self.has(name[5:], name, offset)

    def record(self, user: str, ids: list[str], is_read: bool) -> list[Change]:
        changes = []
        for name in self.rank:
            for offset, item in sorted(self.streams[name].messages.items()):
                mark = (item.message_id, user)
                done = mark in self.read if is_read else self.has(user, name, offset)
                if item.message_id in ids and not done:
                    state: Any = "read" if is_read else "delivered"
                    changes.append(Change(item.message_id, name, offset, item.sender, state))
                    self.got.add(mark)
                    if is_read:
                        self.read.add(mark)
        return changes

    def advance(self, user: str, name: str, offset: int) -> list[Change]:
        stream = self.streams[name]
        offset = min(offset, stream.last)
        new = [
            Change(item.message_id, name, at, item.sender, "delivered")
            for at, item in sorted(stream.messages.items())
            if at <= offset and not self.has(user, name, at)
        ]
        if offset > self.cursors.get((name, user), 0):
            self.cursors[name, user] = offset
            return new
        return []

    def expire(self, now: float, limit: int) -> list[Expired]:
        due = sorted(
            (item.expires_at, self.rank.index(name), offset, name)
            for name, offset, item in self.stored().values()
            if item.expires_at <= now
        )
        return [self.delete(name, offset, False) for _, _, offset, name in due[:limit]]

    def trim(self, limit: int) -> list[Expired]:
        deleted = []
        for name, stream in self.streams.items():
            surplus = max(len(stream.messages) - limit, 0)
            by_worth = sorted(stream.messages, key=lambda at: (self.is_pending(name, at), at))
            deleted += [(name, offset) for offset in by_worth[:surplus]]
        return [self.delete(name, offset, True) for name, offset in deleted]

    def delete(self, name: str, offset: int, is_over_limit: bool) -> Expired:
        stream = self.streams[name]
        is_pending = self.is_pending(name, offset)
        item = stream.messages.pop(offset)
        if is_over_limit or not item.has_ttl:
            stream.first = max(stream.first, offset + 1)
        return Expired(item.message_id, name, offset, item.sender, is_pending)


NAMES = st.sampled_from(STREAMS)
PEOPLE = st.sampled_from(USERS)
IDS = st.integers(0, 25).map("m{}".format)
MESSAGES = st.tuples(NAMES, IDS, st.none() | st.integers(1, 9), st.none() | st.integers(0, 3))
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(MESSAGES, min_size=1, max_size=6)),
    st.tuples(st.just("append"), st.lists(MESSAGES, min_size=1, max_size=6)),
    st.tuples(st.just("fail"), st.lists(MESSAGES, min_size=1, max_size=3)),
    st.tuples(st.just("record"), PEOPLE, st.lists(IDS, max_size=5), st.booleans()),
    st.tuples(st.just("advance"), PEOPLE, NAMES, st.integers(-1, 12)),
    st.tuples(st.just("wait"), st.integers(1, 12)),
    st.tuples(st.just("expire"), st.integers(1, 4)),
    st.tuples(st.just("trim"), st.integers(1, 4)),
    st.tuples(st.just("restart")),
)


class Pair:
    """The stores on a real file and the model, doing the same."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.now = NOW
        self.model = Model()

    async def open(self) -> None:
        self.database = SqliteDatabase(self.path, clock=FakeClock())
        await self.database.open()
        self.streams = StreamStore(self.database)
        self.receipts = ReceiptStore(self.database)

    def messages(self, given: list[tuple[str, str, int | None, int | None]]) -> list[Append]:
        return [
            message(
                name,
                message_id,
                self.now,
                expires_at=self.now + (ttl or RETENTION_S),
                has_ttl=ttl is not None,
                sender="author",
                dedup=None if key is None else ("scope", str(key)),
            )
            for name, message_id, ttl, key in given
        ]

    async def append(self, given: list[tuple[str, str, int | None, int | None]]) -> None:
        batch = self.messages(given)
        answers = [
            (*item[:2], item.offset, item.is_new) for item in await self.streams.append(batch)
        ]
        known = len(self.model.rank)
        assert answers == [self.model.append(item) for item in batch]
        # The new streams of a batch are created in the order of their names.
        self.model.rank[known:] = sorted(self.model.rank[known:])

    async def fail(self, given: list[tuple[str, str, int | None, int | None]]) -> None:
        broken = message("session:s1", "broken", self.now, sender=object())
        with pytest.raises(sqlite3.Error, match="binding parameter"):
            await self.streams.append([*self.messages(given), broken])

    async def record(self, user: str, ids: list[str], is_read: bool) -> None:
        changes = await self.receipts.record(user, ids, read=is_read, at=self.now)
        assert changes == self.model.record(user, ids, is_read)

    async def advance(self, user: str, name: str, offset: int) -> None:
        changes = await self.receipts.advance(user, name, offset, self.now)
        assert changes == self.model.advance(user, name, offset)

    async def wait(self, seconds: int) -> None:
        self.now += seconds

    async def expire(self, limit: int) -> None:
        deleted = await self.streams.expire(self.now, limit)
        assert deleted == self.model.expire(self.now, limit)

    async def trim(self, batch: int) -> None:
        deleted: list[Expired] = []
        while some := await self.streams.trim(self.limit, batch):
            assert len(some) <= batch
            deleted += some
        assert sorted(deleted) == sorted(self.model.trim(self.limit))

    async def restart(self) -> None:
        await self.database.close()
        await self.open()

    async def compare(self) -> None:
        await asyncio.gather(*map(self.compare_stream, STREAMS), *map(self.compare_inbox, USERS))
        assert (await self.streams.count()).messages == len(self.model.stored())

    async def compare_stream(self, name: str) -> None:
        stream = self.model.streams[name]
        head, kept, back = await asyncio.gather(
            self.streams.head(name),
            self.streams.read(wanted(name, now=self.now)),
            self.streams.read_back(wanted(name, 1, stream.last - 1, now=self.now, limit=2)),
        )
        readable = {
            offset: item.message_id
            for offset, item in sorted(stream.messages.items())
            if not item.has_ttl or item.expires_at > self.now
        }
        assert (head.offset, head.first_offset) == (stream.last, stream.first)
        assert {item.offset: item.message_id for item in kept.messages} == readable
        inside = [offset for offset in readable if 1 < offset < stream.last]
        assert [item.offset for item in back.messages] == inside[-2:]

    async def compare_inbox(self, user: str) -> None:
        name = f"user:{user}"
        pending, inbox = await asyncio.gather(
            self.receipts.pending(user, self.now, 1_000_000), self.receipts.inbox(user, self.now)
        )
        waiting = [
            offset
            for offset, item in sorted(self.model.streams[name].messages.items())
            if item.expires_at > self.now and self.model.is_pending(name, offset)
        ]
        assert [item.offset for item in pending.messages] == waiting
        assert inbox.pending == len(waiting)


async def run(steps: list[tuple[Any, ...]], limit: int) -> None:
    with TemporaryDirectory() as folder:
        pair = Pair(Path(folder) / "wsserver.sqlite3", limit)
        await pair.open()
        epoch = (await pair.streams.head("session:s1")).epoch
        try:
            for name, *arguments in steps:
                await getattr(pair, name)(*arguments)
                await pair.compare()
            assert {(await pair.streams.head(name)).epoch for name in STREAMS} == {epoch}
        finally:
            await pair.database.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=25), st.integers(1, 6))
def test_the_stores_do_what_the_model_does(steps: list[tuple[Any, ...]], limit: int) -> None:
    asyncio.run(run(steps, limit))
