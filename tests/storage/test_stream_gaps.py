"""Queries of nodes that follow streams: the ends of many, and what follows a position."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.message_rows import NOW, message, several
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.streams import Head, StreamStore

S1 = "session:s1"


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.mark.gen_test
async def test_the_ends_of_many_streams(streams: StreamStore) -> None:
    (*_, last) = await streams.append(several(S1, "a", "b", "c"))
    new, _ = await streams.names(1)
    found = await streams.heads([S1, "user:nobody"])
    assert found == {S1: Head(last.epoch, 3, 1), "user:nobody": Head(new, 0, 1)}
    assert await streams.heads([]) == {}
    many = await streams.heads([f"user:u{number}" for number in range(2000)])
    assert len(many) == 2000


@pytest.mark.gen_test
async def test_a_gap_is_read_in_pages(streams: StreamStore) -> None:
    sender: dict[str, Any] = {
        "sender": "u1",
        "origin": '{"user_id":"u1"}',
        "audience": '{"role":"admin"}',
    }
    batch = [message(S1, f"m{number}", **sender) for number in range(1, 8)]
    epoch = (await streams.append(batch))[0].epoch
    first = await streams.gap(S1, epoch, 2, NOW, 3, 99999)
    assert [each.offset for each in first.messages] == [3, 4, 5]
    assert (first.head, first.until) == (Head(epoch, 7, 1), 5)
    one = first.messages[0]
    assert (one.message_id, one.stream, one.epoch, one.payload) == (
        "m3",
        S1,
        epoch,
        batch[2].payload,
    )
    assert (one.origin, one.audience, one.sender) == (
        sender["origin"],
        sender["audience"],
        "u1",
    )
    last = await streams.gap(S1, epoch, 5, NOW, 3, 99999)
    assert ([each.offset for each in last.messages], last.until) == ([6, 7], 7)
    assert (await streams.gap(S1, epoch, 7, NOW, 3, 99999)).messages == []
    assert len((await streams.gap(S1, epoch, 0, NOW, 3, 1)).messages) == 1


@pytest.mark.gen_test
async def test_a_gap_ends_beyond_what_has_expired(streams: StreamStore) -> None:
    await streams.append([message(S1, "a"), message(S1, "b", expires_at=NOW - 1, has_ttl=True)])
    epoch = (await streams.head(S1)).epoch
    found = await streams.gap(S1, epoch, 0, NOW, 9, 99999)
    assert ([each.message_id for each in found.messages], found.until) == (["a"], 2)


@pytest.mark.gen_test
async def test_another_epoch_is_read_from_its_beginning(streams: StreamStore) -> None:
    await streams.append(several(S1, "a", "b"))
    found = await streams.gap(S1, "epoch_of_before", 7, NOW, 9, 99999)
    assert [each.offset for each in found.messages] == [1, 2]
    assert found.head.epoch != "epoch_of_before"
    missing = await streams.gap("user:nobody", "epoch_of_before", 7, NOW, 9, 99999)
    assert (missing.messages, missing.until, missing.head.offset) == ([], 0, 0)
