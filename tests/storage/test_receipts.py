from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.message_rows import NOW, message, rows, several
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.receipts import Change, Inbox, Receipt, ReceiptStore
from wsserver.storage.messages.streams import StreamStore


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.fixture
def receipts(database: Database) -> ReceiptStore:
    return ReceiptStore(database)


async def pending(receipts: ReceiptStore, now: float = NOW, after: int = 0, limit: int = 9) -> str:
    part = await receipts.pending("u1", now, 10_000, after, limit)
    return "".join(item.message_id for item in part.messages)


@pytest.mark.gen_test
async def test_a_receipt_is_news_once(streams: StreamStore, receipts: ReceiptStore) -> None:
    await streams.append(several("session:s1", "a", "b", sender="author"))
    first = await receipts.record("u1", ["b", "a", "unknown", "a"], read=False, at=NOW)
    assert first == [
        Change("a", "session:s1", 1, "author", "delivered"),
        Change("b", "session:s1", 2, "author", "delivered"),
    ]
    assert await receipts.record("u1", ["a", "b"], read=False, at=NOW + 1) == []
    (other,) = await receipts.record("u2", ["a"], read=False, at=NOW + 2)
    assert other.message_id == "a"
    assert await receipts.of_message("a") == [
        Receipt("u1", NOW, None),
        Receipt("u2", NOW + 2, None),
    ]


@pytest.mark.gen_test
async def test_reading_implies_delivery_and_is_one_piece_of_news(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    await streams.append(several("session:s1", "a", "b"))
    await receipts.record("u1", ["a"], read=False, at=NOW)
    changes = await receipts.record("u1", ["a", "b"], read=True, at=NOW + 1)
    assert [(change.message_id, change.state) for change in changes] == [
        ("a", "read"),
        ("b", "read"),
    ]
    assert await receipts.record("u1", ["a", "b"], read=True, at=NOW + 2) == []
    assert await receipts.record("u1", ["b"], read=False, at=NOW + 2) == []
    assert await receipts.of_message("a") == [Receipt("u1", NOW, NOW + 1)]
    assert await receipts.of_message("b") == [Receipt("u1", NOW + 1, NOW + 1)]


@pytest.mark.gen_test
async def test_a_cursor_covers_everything_up_to_it_and_returns_what_is_new(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    await streams.append(several("session:s1", *"abcd", sender="author"))
    await receipts.record("u1", ["b"], read=False, at=NOW)
    changes = await receipts.advance("u1", "session:s1", 3, NOW + 1)
    assert changes == [
        Change("a", "session:s1", 1, "author", "delivered"),
        Change("c", "session:s1", 3, "author", "delivered"),
    ]
    assert await receipts.record("u1", ["a", "b", "c"], read=False, at=NOW + 2) == []
    (read,) = await receipts.record("u1", ["a"], read=True, at=NOW + 2)
    assert read.state == "read"
    assert await receipts.of_message("a") == [Receipt("u1", NOW + 1, NOW + 2)]
    await receipts.advance("u1", "session:s1", 4, NOW + 9)
    assert await receipts.of_message("a") == [Receipt("u1", NOW + 1, NOW + 2)]
    assert await receipts.of_message("b") == [Receipt("u1", NOW, None)]
    assert await receipts.of_message("c") == [Receipt("u1", NOW + 9, None, 1)]  # no later than that
    assert await receipts.of_message("d") == [Receipt("u1", NOW + 9, None, 1)]
    assert await receipts.of_message("unknown") == []


@pytest.mark.gen_test
async def test_a_cursor_never_goes_back_and_never_past_the_end(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    assert await receipts.advance("u1", "session:s1", 5, NOW) == []
    await streams.append(several("session:s1", *"abc"))
    assert len(await receipts.advance("u1", "session:s1", 1 << 60, NOW)) == 3
    assert await receipts.advance("u1", "session:s1", 1, NOW) == []
    assert await receipts.advance("u1", "session:s1", -7, NOW) == []
    await streams.append(several("session:s1", "d"))
    (change,) = await receipts.advance("u1", "session:s1", 4, NOW)
    assert change.message_id == "d"


@pytest.mark.gen_test
async def test_of_more_than_a_thousand_newly_covered_the_latest_are_named(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    await streams.append(several("session:s1", *(f"m{n}" for n in range(1, 1202))))
    changes = await receipts.advance("u1", "session:s1", 1201, NOW)
    assert [change.offset for change in changes] == list(range(202, 1202))
    assert await receipts.advance("u1", "session:s1", 1201, NOW) == []


@pytest.mark.gen_test
async def test_pending_is_what_the_owner_has_not_settled_in_either_way(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    assert await pending(receipts) == ""
    await streams.append(several("user:u1", *"abcdef"))
    await streams.append(several("user:u2", "x"))
    assert await pending(receipts) == "abcdef"
    assert await pending(receipts, after=2, limit=3) == "cde"
    await receipts.advance("u1", "user:u1", 2, NOW)
    await receipts.record("u1", ["d"], read=True, at=NOW)
    await receipts.record("u2", ["c", "e"], read=False, at=NOW)  # not the owner's
    await receipts.advance("u2", "user:u1", 6, NOW)
    assert await pending(receipts) == "cef"
    assert await pending(receipts, after=1, limit=1) == "c"


@pytest.mark.gen_test
async def test_what_has_expired_is_no_longer_pending_even_before_it_is_deleted(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    await streams.append(several("user:u1", "ttl", expires_at=NOW + 5, has_ttl=True))
    await streams.append(several("user:u1", "old", expires_at=NOW + 6))
    assert (await receipts.inbox("u1", NOW + 4)).pending == 2
    assert await pending(receipts, NOW + 5) == "old"
    assert (await receipts.inbox("u1", NOW + 6)).pending == 0
    assert await pending(receipts, NOW + 6) == ""


@pytest.mark.gen_test
async def test_an_inbox_is_counted_in_one_read(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    epoch = (await streams.head("user:u1")).epoch
    assert await receipts.inbox("u1", NOW) == Inbox(epoch, 0, 0)
    await streams.append(several("user:u1", "a", "b", "c"))
    await receipts.record("u1", ["b"], read=False, at=NOW)
    assert await receipts.inbox("u1", NOW) == Inbox(epoch, 3, 2)
    await receipts.advance("u1", "user:u1", 3, NOW)
    assert await receipts.inbox("u1", NOW) == Inbox(epoch, 3, 0)


@pytest.mark.gen_test
async def test_acknowledgements_survive_a_restart(
    streams: StreamStore,
    receipts: ReceiptStore,
    database: Database,
    make_database: Callable[..., Database],
) -> None:
    await streams.append(several("user:u1", *"abcd"))
    await receipts.advance("u1", "user:u1", 1, NOW)
    await receipts.record("u1", ["c"], read=True, at=NOW)
    await database.close()
    again = make_database()
    await again.open()
    assert await pending(ReceiptStore(again)) == "bd"


@pytest.mark.gen_test
async def test_receipts_go_with_their_message(
    streams: StreamStore, receipts: ReceiptStore, database: Database
) -> None:
    await streams.append(several("session:s1", "a", "b", expires_at=NOW + 1))
    await streams.append([message("session:s1", "c")])
    for user_id in ("u1", "u2"):
        await receipts.record(user_id, ["a", "c"], read=True, at=NOW)
    await streams.expire(NOW + 1)
    assert await receipts.of_message("a") == []
    assert await rows(database, "receipts") == 2


@pytest.mark.gen_test
async def test_no_ids_are_no_job(receipts: ReceiptStore, database: Database) -> None:
    assert await receipts.record("u1", [], read=True, at=NOW) == []
    assert database.health()["commits"] == 0
