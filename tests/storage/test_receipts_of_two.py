"""Two processes record receipts of the same messages at the same time: one gets each as new."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.storage.conftest import MakeDatabase
from tests.support.message_rows import NOW, message, several
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.receipts import Change, Inbox, ReceiptStore
from wsserver.storage.messages.streams import StreamStore

IDS = [f"m{number}" for number in range(40)]
ROUNDS = 12


@pytest.fixture
def two(io_loop: IOLoop, make_database: MakeDatabase) -> Iterator[tuple[Database, Database]]:
    """The databases of two processes; on a SQLite file the transactions of one, one by one."""
    first = make_database()
    if first.KIND == "sqlite":
        io_loop.run_sync(first.open)
        yield first, first
        return
    first, second = make_database(is_shared=True), make_database(is_shared=True)
    io_loop.run_sync(first.open)
    io_loop.run_sync(second.open)
    yield first, second


def news(answers: Iterable[list[Change]]) -> Counter[tuple[str, str]]:
    return Counter((each.message_id, each.state) for changes in answers for each in changes)


@pytest.mark.gen_test(timeout=60)
async def test_each_receipt_is_new_once(two: tuple[Database, Database]) -> None:
    first, second = map(ReceiptStore, two)
    await StreamStore(two[0]).append(several("user:u1", *IDS, sender="author"))
    for number in range(ROUNDS):
        user = f"reader{number}"
        answers = await asyncio.gather(
            first.record(user, IDS, read=False, at=NOW),
            second.record(user, IDS[::-1], read=False, at=NOW + 1),
            second.record(user, IDS[:20], read=True, at=NOW + 2),
            first.record(user, IDS[:20], read=True, at=NOW + 3),
        )
        counts = news(answers)
        assert set(counts.values()) == {1}
        assert {id_ for id_, state in counts if state == "read"} == set(IDS[:20])
        assert {id_ for id_, state in counts if state == "delivered"} >= set(IDS[20:])
    for receipt in await first.of_message("m0"):
        assert receipt.read_at is not None


@pytest.mark.gen_test(timeout=60)
async def test_an_offset_never_goes_back_and_covers_each_message_once(
    two: tuple[Database, Database],
) -> None:
    first, second = map(ReceiptStore, two)
    await StreamStore(two[0]).append(several("user:u1", *IDS))
    for number in range(ROUNDS):
        user = f"reader{number}"
        before = 5 * (number % 2)
        await first.advance(user, "user:u1", before, NOW)
        answers = await asyncio.gather(
            first.advance(user, "user:u1", 10, NOW),
            second.advance(user, "user:u1", 40, NOW),
            first.advance(user, "user:u1", 30, NOW),
            second.advance(user, "user:u1", 20, NOW),
        )
        counts = news(answers)
        expected = {(id_, "delivered") for id_ in IDS[before:]}
        assert (set(counts), set(counts.values())) == (expected, {1})
        assert await second.advance(user, "user:u1", 40, NOW) == []


@pytest.mark.gen_test(timeout=60)
async def test_a_deleted_message_is_reported_once(two: tuple[Database, Database]) -> None:
    first, second = map(StreamStore, two)
    for number in range(ROUNDS):
        ids = [f"{number}_{id_}" for id_ in IDS]
        await first.append(several("user:u1", *ids, expires_at=NOW + 1))
        answers = await asyncio.gather(first.expire(NOW + 1), second.expire(NOW + 1))
        counts = Counter(each.message_id for deleted in answers for each in deleted)
        assert (set(counts), set(counts.values())) == (set(ids), {1})


@pytest.mark.gen_test
async def test_the_unsettled_ones_are_what_the_owner_has_not_acknowledged(
    two: tuple[Database, Database],
) -> None:
    first, second = map(ReceiptStore, two)
    await StreamStore(two[0]).append(several("user:u1", *"abcd"))
    await StreamStore(two[1]).append(
        [message("user:u2", "other"), message("user:u1", "late", expires_at=NOW + 1)]
    )
    ids = [*"abcd", "other", "late", "unknown"]
    await second.record("u2", ["c"], read=False, at=NOW)
    assert await first.unsettled(ids, NOW) == {*"abcd", "other", "late"}
    await second.advance("u1", "user:u1", 1, NOW)
    await second.record("u1", ["c"], read=False, at=NOW)
    assert await first.unsettled(ids, NOW + 1) == {"b", "d", "other"}
    assert (await first.inbox("u1", NOW + 1)).pending == 2
    assert isinstance(await second.inbox("u2", NOW), Inbox)
