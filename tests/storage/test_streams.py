from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.support.message_rows import ALL, NOW, message, offsets, payload, rows, several, wanted
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sqlite import SqliteDatabase
from wsserver.storage.messages.streams import (
    Append,
    Appended,
    Counts,
    Found,
    Head,
    Kept,
    Slice,
    StreamStore,
)

DAY_S = 86_400.0


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.mark.gen_test
async def test_offsets_of_each_stream_start_at_1_and_have_no_gaps(streams: StreamStore) -> None:
    batch = [message(name, f"{name}-{n}") for n in range(3) for name in ("session:a", "user:b")]
    first = await streams.append(batch)
    assert [(item.stream, item.offset) for item in first] == [
        (item.stream, number) for number in (1, 2, 3) for item in batch[:2]
    ]
    assert all(item.is_new for item in first)
    (second,) = await streams.append([message("user:b", "later")])
    assert (second.offset, second.epoch) == (4, first[0].epoch)


@pytest.mark.gen_test
async def test_a_message_comes_back_as_it_was_given(streams: StreamStore) -> None:
    given = message(
        "session:s1",
        "m1",
        at=NOW + 0.25,
        expires_at=NOW + 60,
        has_ttl=True,
        sender="u1",
        origin='{"user_id":"u1"}',
        audience='{"role":"admin"}',
    )
    (position,) = await streams.append([given])
    kept = Kept(
        1, "m1", "new_message", NOW + 0.25, NOW + 60, 1, "u1", '{"role":"admin"}', payload("m1")
    )
    assert await streams.read(wanted("session:s1", 0, 1)) == Slice([kept], None, is_for_all=False)
    found = Found(*kept, "session:s1", position.epoch, '{"user_id":"u1"}')
    assert await streams.find(["m1"], NOW, 1) == ([found], [])


@pytest.mark.gen_test
async def test_the_writers_of_streams_are_listed_once_each(streams: StreamStore) -> None:
    def written(
        message_id: str, sender: str | None, by: str | None, only_for: str | None = None
    ) -> Append:
        by_whom = f'{{"user_id":"u1","role":"service","organization_id":"{by}"}}'
        origin = "{}" if by is None else by_whom
        audience = None if only_for is None else f'{{"organization_id":"{only_for}"}}'
        return message("session:s1", message_id, sender=sender, origin=origin, audience=audience)

    assert await streams.writers(["session:s1", "session:s2"]) == {}
    await streams.append([written("m1", "u1", "o1"), written("m2", "u1", "o1")])
    await streams.append([written("m3", None, None), written("m4", "u2", "o2", "o2")])
    await streams.append([message("session:s2", "m5", sender="u5")])
    found = await streams.writers(["session:s1", "session:s2", "session:s3"])
    assert {name: set(writers) for name, writers in found.items()} == {
        "session:s1": {
            ("u1", "o1", None, "service", 1),
            (None, None, None, None, 1),
            ("u2", "o2", "o2", "service", 0),  # u1 in the name of u2
        },
        "session:s2": {("u5", None, None, None, 0)},
    }


@pytest.mark.gen_test
async def test_a_stream_never_used_is_empty_and_gets_the_epoch_it_had_before(
    streams: StreamStore,
) -> None:
    head = await streams.head("session:s1")
    assert (head.offset, head.first_offset) == (0, 1)
    assert head.epoch.startswith("epoch_")
    assert await streams.read(wanted("session:s1")) == Slice([], None)
    assert await streams.read_back(wanted("session:s1")) == Slice([], None)
    (position,) = await streams.append([message("session:s1", "m1")])
    assert position.epoch == head.epoch
    assert await streams.head("session:s1") == Head(head.epoch, 1, 1)


@pytest.mark.gen_test
async def test_a_range_is_exclusive_below_and_inclusive_above(streams: StreamStore) -> None:
    await streams.append(several("session:s1", *"abcdef"))
    await streams.append(several("session:s2", *"uvw"))

    async def read(after: int, until: int, limit: int = 10) -> str:
        part = await streams.read(wanted("session:s1", after, until, limit=limit))
        return "".join(item.message_id for item in part.messages)

    assert await read(0, ALL) == "abcdef"
    assert await read(-5, 4) == "abcd"
    assert await read(1, 4) == "bcd"
    assert await read(1, 4, limit=2) == "bc"
    assert await read(4, 4) == ""
    assert await read(ALL, ALL) == ""


@pytest.mark.gen_test
async def test_reading_back_gives_the_last_ones_in_ascending_order(streams: StreamStore) -> None:
    await streams.append(several("session:s1", *"abcdef"))
    await streams.append(several("session:s2", *"uvw"))

    async def read_back(before: int, after: int, limit: int = 10) -> str:
        part = await streams.read_back(wanted("session:s1", after, before - 1, limit=limit))
        return "".join(item.message_id for item in part.messages)

    assert await read_back(ALL, 0) == "abcdef"
    assert await read_back(ALL, 0, limit=2) == "ef"
    assert await read_back(5, 1) == "bcd"
    assert await read_back(5, 1, limit=1) == "d"
    assert await read_back(1, 0) == ""
    assert await read_back(-1, -9) == ""


@pytest.mark.gen_test
async def test_a_time_to_live_ends_what_can_be_read_and_retention_only_when_it_is_enforced(
    streams: StreamStore,
) -> None:
    await streams.append(several("session:s1", "short", expires_at=NOW + 5, has_ttl=True))
    await streams.append(several("session:s1", "kept", expires_at=NOW + 5))
    assert await offsets(streams, "session:s1", NOW + 4.9) == {1: "short", 2: "kept"}
    assert await offsets(streams, "session:s1", NOW + 5) == {2: "kept"}
    late = wanted("session:s1", until=8, now=NOW + 5)
    assert [each.offset for each in (await streams.read_back(late)).messages] == [2]
    assert [item.offset for item in await streams.locate(["short", "kept"], NOW + 5)] == [2]


@pytest.mark.gen_test
async def test_finding_skips_unknown_ids_and_takes_a_thousand(streams: StreamStore) -> None:
    ids = [f"m{n:04}" for n in range(1500)]
    await streams.append(several("session:s1", *ids))
    found = await streams.locate([*ids[-900:], *(f"none{n}" for n in range(100))], NOW)
    assert [item.message_id for item in found] == ids[-900:]
    assert await streams.locate([], NOW) == []
    assert await streams.find([], NOW, 9) == ([], [])


@pytest.mark.gen_test
async def test_a_batch_whose_outcome_was_unknown_is_appended_again_without_a_trace(
    streams: StreamStore,
) -> None:
    batch = [*several("session:s1", "a", "b"), *several("user:u1", "c")]
    first = await streams.append(batch)
    again = await streams.append([*batch, message("session:s1", "d")])
    assert again[:3] == [item._replace(is_new=False) for item in first]
    assert again[3] == Appended("d", "session:s1", first[0].epoch, 3, True)
    assert await streams.count() == Counts(streams=2, messages=4)


@pytest.mark.gen_test
async def test_a_key_stores_one_message_also_within_a_batch(streams: StreamStore) -> None:
    key = ("client:u1", "k1")
    first, second, other = await streams.append(
        [
            message("session:s1", "a", dedup=key),
            message("session:s1", "b", dedup=key),
            message("session:s1", "c", dedup=("client:u2", "k1")),
        ]
    )
    assert second == first._replace(is_new=False)
    assert (first.offset, other.offset, other.is_new) == (1, 2, True)
    (third,) = await streams.append([message("session:s1", "d", dedup=key)])
    assert third == second
    assert await offsets(streams, "session:s1") == {1: "a", 2: "c"}


@pytest.mark.gen_test
async def test_the_same_id_twice_in_a_batch_is_one_message(streams: StreamStore) -> None:
    twice = message("session:s1", "a")
    first, second = await streams.append([twice, twice])
    assert (first.is_new, second) == (True, first._replace(is_new=False))
    assert await offsets(streams, "session:s1") == {1: "a"}


@pytest.mark.gen_test
async def test_a_key_is_free_again_after_a_day(streams: StreamStore, database: Database) -> None:
    key = ("client:u1", "k")
    await streams.append([message("session:s1", "a", dedup=key)])
    (young,) = await streams.append([message("session:s1", "b", NOW + DAY_S - 1, dedup=key)])
    assert not young.is_new
    (old,) = await streams.append([message("session:s1", "c", NOW + DAY_S, dedup=key)])
    assert (old.message_id, old.is_new) == ("c", True)
    assert (await streams.prune(NOW + DAY_S)).dedup_keys == 0
    assert (await streams.prune(NOW + DAY_S + DAY_S)).dedup_keys == 1
    assert await rows(database, "dedup") == 0


@pytest.mark.gen_test
async def test_an_append_that_fails_in_its_middle_leaves_no_gap(
    streams: StreamStore, database: Database
) -> None:
    before = several("session:s1", "a")
    broken = [*several("session:s1", "b"), message("session:s1", "c", sender=object())]
    after = [*several("session:s1", "d"), *several("session:new", "e")]
    # All three wait for the same transaction.
    outcomes = await asyncio.gather(
        streams.append(before),
        streams.append([*broken, message("session:new", "x")]),
        streams.append(after),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], sqlite3.Error | psycopg.Error)
    assert await offsets(streams, "session:s1") == {1: "a", 2: "d"}
    assert await offsets(streams, "session:new") == {1: "e"}


@pytest.fixture
def locked(database: Database, path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's transaction; the file is locked until it is rolled back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_an_append_refused_by_a_locked_file_has_stored_nothing(
    streams: StreamStore, locked: sqlite3.Connection
) -> None:
    batch = several("session:s1", "a", "b", dedup=("s", "k"))
    with pytest.raises(StorageUnavailable):
        await streams.append(batch)
    locked.execute("ROLLBACK")
    first, second = await streams.append(batch)
    assert (first.offset, first.is_new, second.is_new) == (1, True, False)


@pytest.mark.gen_test
async def test_epochs_offsets_and_keys_survive_a_restart(
    streams: StreamStore, database: Database, make_database: Callable[..., Database]
) -> None:
    unused = await streams.head("session:unused")
    key = ("client:u1", "k")
    (first,) = await streams.append([message("session:s1", "a", dedup=key)])
    await database.close()
    again = make_database()
    await again.open()
    restarted = StreamStore(again)
    assert await restarted.head("session:unused") == unused
    assert await restarted.head("session:s1") == Head(first.epoch, 1, 1)
    answers = await restarted.append(
        [message("session:s1", "retry", dedup=key), message("session:s1", "b")]
    )
    assert answers[0] == first._replace(is_new=False)
    assert (answers[1].epoch, answers[1].offset) == (first.epoch, 2)


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_what_was_answered_is_in_the_file_of_a_server_that_died(
    streams: StreamStore, path: Path, tmp_path: Path, clock: object
) -> None:
    await streams.append(several("session:s1", "a", "b"))
    crashed = tmp_path / "crashed.sqlite3"
    for suffix in ("", "-wal"):
        Path(f"{crashed}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    database = SqliteDatabase(crashed, clock=clock)  # type: ignore[arg-type]
    await database.open()
    try:
        assert await offsets(StreamStore(database), "session:s1") == {1: "a", 2: "b"}
    finally:
        await database.close()


@pytest.mark.gen_test
async def test_an_empty_batch_is_no_job(streams: StreamStore, database: Database) -> None:
    assert await streams.append([]) == []
    assert database.health()["commits"] == 0


@pytest.mark.gen_test
async def test_offsets_end_before_they_could_reach_into_the_next_stream(
    streams: StreamStore, database: Database
) -> None:
    last = (1 << 38) - 1
    await streams.append(several("session:s1", "a"))
    await streams.append(several("session:s2", "b"))
    await database.run(
        lambda db: (
            db.execute("UPDATE streams SET last_offset = ? WHERE id = 1", [last - 1]).rowcount
        )
    )
    (position,) = await streams.append([message("session:s1", "last")])
    assert position.offset == last
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        await streams.append([message("session:s1", "one too many")])
    assert await offsets(streams, "session:s1") == {1: "a", last: "last"}
    latest = wanted("session:s1", limit=1)
    assert [each.offset for each in (await streams.read_back(latest)).messages] == [last]
    assert await offsets(streams, "session:s2") == {1: "b"}


@pytest.mark.gen_test
async def test_heads_of_many_streams_are_those_of_each(database: Database) -> None:
    streams = StreamStore(database)
    await streams.append([*several("session:s1", "a", "b"), *several("user:u1", "c")])
    names = ["session:s1", "user:u1", "session:none"]
    heads = await streams.heads(names)
    assert heads == {name: await streams.head(name) for name in names}
    assert heads["session:s1"].offset == 2
    assert await streams.heads([]) == {}
