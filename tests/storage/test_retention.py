from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.message_rows import NOW, message, offsets, rows, several
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import Counts, Expired, Head, Pruned, StreamStore

MONTH_S = 30 * 86_400.0


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.fixture
def receipts(database: Database) -> ReceiptStore:
    return ReceiptStore(database)


async def first_offset(streams: StreamStore, stream: str) -> int:
    return (await streams.head(stream)).first_offset


async def trim_all(streams: StreamStore, limit: int, batch: int = 300) -> list[Expired]:
    deleted: list[Expired] = []
    while some := await streams.trim(limit, batch):
        assert len(some) <= batch
        deleted += some
    return deleted


@pytest.mark.gen_test
async def test_expiry_goes_in_batches_and_moves_the_first_offset(streams: StreamStore) -> None:
    await streams.append(several("session:s1", *(f"m{n}" for n in range(5)), expires_at=NOW + 1))
    await streams.append([message("session:s1", "young")])
    assert await streams.expire(NOW + 0.9) == []
    assert len(await streams.expire(NOW + 1, limit=3)) == 3
    assert await first_offset(streams, "session:s1") == 4
    assert len(await streams.expire(NOW + 1, limit=3)) == 2
    assert await streams.expire(NOW + 1, limit=3) == []
    assert await first_offset(streams, "session:s1") == 6
    assert await offsets(streams, "session:s1") == {6: "young"}
    (position,) = await streams.append([message("session:s1", "next")])
    assert position.offset == 7


@pytest.mark.gen_test
async def test_a_time_to_live_that_ran_out_moves_no_first_offset(streams: StreamStore) -> None:
    await streams.append(several("session:s1", "a"))
    await streams.append(several("session:s1", "ttl", expires_at=NOW + 1, has_ttl=True))
    deleted = await streams.expire(NOW + 1)
    assert deleted == [Expired("ttl", "session:s1", 2, None, False)]
    assert await streams.head("session:s1") == Head((await streams.head("x")).epoch, 2, 1)


@pytest.mark.gen_test
async def test_only_what_an_inbox_s_owner_never_got_expires_as_pending(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    await streams.append(several("user:u1", *"abcd", sender="author", expires_at=NOW + 1))
    await streams.append(several("session:u1", "s", expires_at=NOW + 1))
    await receipts.advance("u1", "user:u1", 1, NOW)
    await receipts.record("u1", ["c"], read=False, at=NOW)
    await receipts.record("u2", ["b"], read=True, at=NOW)
    deleted = await streams.expire(NOW + 1)
    assert [item for item in deleted if item.is_pending] == [
        Expired("b", "user:u1", 2, "author", True),
        Expired("d", "user:u1", 4, "author", True),
    ]
    assert {item.message_id for item in deleted} == {"a", "b", "c", "d", "s"}


@pytest.mark.gen_test
async def test_trimming_keeps_the_latest_of_each_stream(streams: StreamStore) -> None:
    await streams.append(several("session:s1", *"abcdefg"))
    await streams.append(several("session:s2", *"uvw"))
    deleted = await trim_all(streams, limit=3, batch=2)
    assert [(item.message_id, item.is_pending) for item in deleted] == [
        (name, False) for name in "abcd"
    ]
    assert await offsets(streams, "session:s1") == {5: "e", 6: "f", 7: "g"}
    assert await first_offset(streams, "session:s1") == 5
    assert await first_offset(streams, "session:s2") == 1


@pytest.mark.gen_test
async def test_a_message_lost_to_the_limit_moves_the_first_offset_whatever_its_time_to_live(
    streams: StreamStore,
) -> None:
    await streams.append(several("session:s1", *"ab", expires_at=NOW + 9, has_ttl=True))
    assert len(await trim_all(streams, limit=1)) == 1
    assert await first_offset(streams, "session:s1") == 2


@pytest.mark.gen_test
async def test_what_has_expired_does_not_count_against_the_limit(streams: StreamStore) -> None:
    await streams.append(several("session:s1", *"ab"))
    await streams.append(several("session:s1", *"cdef", expires_at=NOW + 1, has_ttl=True))
    await streams.expire(NOW + 1)
    assert await trim_all(streams, limit=2) == []
    assert await offsets(streams, "session:s1") == {1: "a", 2: "b"}


@pytest.mark.gen_test
async def test_many_streams_over_the_limit_are_all_trimmed(streams: StreamStore) -> None:
    names = [f"session:s{n}" for n in range(70)]
    # The holes left by expiry make the first streams look longer than they are.
    for n, name in enumerate(names):
        ttl = {"expires_at": NOW + 1, "has_ttl": True} if n < 45 else {}
        await streams.append(several(name, *(f"{name}-{i}" for i in range(3)), **ttl))
    while await streams.expire(NOW + 1):
        pass
    deleted = await trim_all(streams, limit=2, batch=7)
    assert sorted(item.stream for item in deleted) == sorted(names[45:])


@pytest.mark.gen_test
async def test_an_inbox_loses_what_is_settled_before_what_is_pending(
    streams: StreamStore, receipts: ReceiptStore
) -> None:
    await streams.append(several("user:u1", *"abcdef", sender="author"))
    await receipts.record("u1", ["c", "e"], read=False, at=NOW)
    assert [item.message_id for item in await trim_all(streams, limit=5)] == ["c"]
    await streams.append(several("user:u1", "g", "h", sender="author"))
    assert await trim_all(streams, limit=5) == [
        Expired("e", "user:u1", 5, "author", False),
        Expired("a", "user:u1", 1, "author", True),
    ]
    assert [each.message_id for each in (await receipts.pending("u1", NOW, 9999)).messages] == list(
        "bdfgh"
    )
    # Who had everything up to 3 cannot be brought up to date: 5 is gone.
    assert await first_offset(streams, "user:u1") == 6
    await streams.expire(NOW + 9 * MONTH_S, limit=1)
    assert await first_offset(streams, "user:u1") == 6


@pytest.mark.gen_test
async def test_a_restart_trims_what_was_left_over(
    streams: StreamStore, database: Database, make_database: Callable[..., Database]
) -> None:
    await streams.append(several("session:s1", *"abcd"))
    await database.close()
    again = make_database()
    await again.open()
    restarted = StreamStore(again)
    assert len(await trim_all(restarted, limit=2)) == 2
    await restarted.append(several("session:s1", "e"))
    assert [item.message_id for item in await trim_all(restarted, limit=2)] == ["c"]


@pytest.mark.gen_test
async def test_a_trim_that_failed_is_done_by_the_next_one(
    streams: StreamStore, database: Database
) -> None:
    await streams.append(several("session:s1", *"abcd"))
    await streams.trim(4)

    await streams.append(several("session:s1", "e"))
    await database.run(lambda db: db.execute("ALTER TABLE receipts RENAME TO away").rowcount)
    with pytest.raises(Exception, match="receipts"):
        await streams.trim(4)
    await database.run(lambda db: db.execute("ALTER TABLE away RENAME TO receipts").rowcount)
    assert [item.message_id for item in await trim_all(streams, limit=4)] == ["a"]


@pytest.mark.gen_test
async def test_a_stream_born_again_has_another_epoch(
    streams: StreamStore, receipts: ReceiptStore, database: Database
) -> None:
    (old,) = await streams.append([message("session:s1", "a")])
    await streams.append([message("session:full", "b", expires_at=NOW + 9 * MONTH_S)])
    await receipts.advance("u1", "session:s1", 1, NOW)
    await streams.expire(NOW + MONTH_S)
    young = NOW + MONTH_S - 1
    assert await streams.prune(young) == Pruned(0, 0, None)
    assert (await streams.head("session:s1")).offset == 1
    pruned = await streams.prune(NOW + MONTH_S)
    assert (pruned.streams, pruned.epoch) == (1, (await streams.head("session:s1")).epoch)
    assert pruned.epoch != old.epoch
    assert await rows(database, "cursors") == 0
    (born_again,) = await streams.append([message("session:s1", "c", NOW + MONTH_S)])
    assert (born_again.epoch, born_again.offset) == (pruned.epoch, 1)
    assert await streams.head("session:full") == Head(old.epoch, 1, 1)
    assert len(await receipts.advance("u1", "session:s1", 1, NOW)) == 1


@pytest.mark.gen_test
async def test_pruning_gets_through_many_streams(streams: StreamStore) -> None:
    await streams.append([message(f"session:s{n}", f"m{n}", expires_at=NOW) for n in range(700)])
    await streams.append([message("session:used", "used", expires_at=NOW + 9 * MONTH_S)])
    while await streams.expire(NOW):
        pass
    assert (await streams.prune(NOW + MONTH_S)).streams == 700
    assert await streams.count() == Counts(streams=1, messages=1)


@pytest.mark.gen_test
async def test_an_append_between_the_look_and_the_pruning_saves_the_stream(
    streams: StreamStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await streams.append([message("session:s1", "a", expires_at=NOW)])
    await streams.expire(NOW)
    read = database.read

    async def read_and_be_overtaken(fn: Callable[..., object]) -> object:
        answer = await read(fn)
        await streams.append([message("session:s1", "b", NOW + MONTH_S)])
        return answer

    monkeypatch.setattr(database, "read", read_and_be_overtaken)
    assert (await streams.prune(NOW + MONTH_S)).streams == 0
    monkeypatch.undo()
    assert await offsets(streams, "session:s1") == {2: "b"}


@pytest.mark.gen_test
async def test_a_closed_database_says_so(streams: StreamStore, database: Database) -> None:
    await database.close()
    with pytest.raises(StorageUnavailable):
        await streams.trim(1)
    with pytest.raises(StorageUnavailable):
        await streams.expire(NOW)
