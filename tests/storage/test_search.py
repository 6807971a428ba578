"""The search index: in step with messages, edits, deletions and retention, on both engines."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

import pytest

from tests.support.message_rows import NOW, RETENTION_S, rows, several
from wsserver.paging import LARGEST_INT
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import search, search_rows
from wsserver.storage.messages.search import Hits, Query, SearchStore
from wsserver.storage.messages.search_text import terms_of
from wsserver.storage.messages.streams import Append, Revised, Revision, StreamStore

numbers = count()


def push(content: Any, **message: Any) -> bytes:
    return json.dumps({"type": "new_message", "message": {"content": content, **message}}).encode()


def said(content: Any, session: str = "s1", message_id: str = "", **fields: Any) -> Append:
    message_id = message_id or f"msg_{next(numbers)}"
    given = {"expires_at": NOW + RETENTION_S, **fields}
    return Append(f"session:{session}", message_id, "new_message", push(content), NOW, **given)


def change(message_id: str, payload: bytes, deleted_at: float | None = None) -> Append:
    revised = Revised(payload, deleted_at)
    revision = Revision("session:s1", message_id, lambda _: revised)
    record = b'{"type":"message_updated"}'
    return Append(
        "session:s1",
        f"record_{next(numbers)}",
        "message_updated",
        record,
        NOW,
        NOW + RETENTION_S,
        revision=revision,
    )


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.fixture
def store(database: Database) -> SearchStore:
    return SearchStore(database)


async def indexed(store: SearchStore) -> None:
    while await store.index():
        pass


async def ask(store: SearchStore, query: str, **fields: Any) -> Hits:
    given = {"sessions": None, "before": LARGEST_INT, "now": NOW, "limit": 50, **fields}
    return await store.find(Query(terms=terms_of(query), **given))


async def found(store: SearchStore, query: str, **fields: Any) -> list[str]:
    hits = (await ask(store, query, **fields)).hits
    return [json.loads(each.found.payload)["message"]["content"] for each in hits]


@pytest.mark.gen_test
async def test_chinese_and_latin_are_found_newest_first(
    streams: StreamStore, store: SearchStore
) -> None:
    texts = ["I want a refund", "我要退款，谢谢", "Refund please!", "退 款", "ok", "token", "100%"]
    await streams.append([said(text) for text in texts])
    assert await found(store, "refund") == []  # not yet
    await indexed(store)
    assert await found(store, "REFUND") == ["Refund please!", "I want a refund"]
    assert await found(store, "want refund") == ["I want a refund"]
    assert await found(store, "退款") == ["我要退款，谢谢"]
    assert await found(store, "要退款") == ["我要退款，谢谢"]
    assert await found(store, "ok") == ["ok"]
    assert await found(store, "oke") == ["token"]
    assert await found(store, "0%") == ["100%"] or await found(store, "100%") == ["100%"]
    assert (await ask(store, "refund")).hits[0].snippet == "Refund please!"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "query", ['""', "**", "%%", "' OR 1=1 --", '"a" AND', "NEAR(", "a" * 200, "\x00\x01", "\uf8ff1"]
)
async def test_no_query_is_too_odd(streams: StreamStore, store: SearchStore, query: str) -> None:
    await streams.append([said("nothing"), said(f"this: {query} is it"), said("else")])
    await indexed(store)
    assert await found(store, query) in ([], [f"this: {query} is it"])


@pytest.mark.gen_test
async def test_what_is_no_message_of_a_session_is_not_found(
    streams: StreamStore, store: SearchStore
) -> None:
    await streams.append(
        [
            Append("user:u1", "m1", "new_message", push("secret"), NOW, NOW + 9),
            Append("session:s1", "m2", "news", push("secret"), NOW, NOW + 9),
            said("secret", message_id="m3"),
        ]
    )
    await streams.revise([Revision("session:s1", "m3", lambda _: Revised(push("growing secret")))])
    await indexed(store)
    assert await found(store, "secret") == ["growing secret"]


@pytest.mark.gen_test
async def test_an_answer_is_found_once_it_has_ended(
    streams: StreamStore, store: SearchStore
) -> None:
    growing = push("first words", state="growing")
    message = Append("session:s1", "a1", "new_message", growing, NOW, NOW + 9999)
    await streams.append([message])
    await indexed(store)
    await streams.revise([Revision("session:s1", "a1", lambda _: Revised(growing))])
    await indexed(store)
    assert await found(store, "words") == []
    await streams.append([change("a1", push("first words and last", state="completed"))])
    await indexed(store)
    assert await found(store, "words") == ["first words and last"]


@pytest.mark.gen_test
async def test_edits_and_deletions_change_what_is_found(
    streams: StreamStore, store: SearchStore, database: Database
) -> None:
    await streams.append([said("apple pie", message_id="m1"), said("apple juice")])
    await indexed(store)
    await streams.append([change("m1", push("cherry pie"))])
    assert await found(store, "apple") == ["apple juice"]
    await streams.append([change("m1", push("plum pie"))])  # before it is indexed again
    await indexed(store)
    assert await found(store, "pie") == ["plum pie"]
    assert await found(store, "cherry") == []
    # In its old place: results are ordered by when it was sent.
    await streams.append([said("pie 2")])
    await indexed(store)
    assert await found(store, "pie") == ["pie 2", "plum pie"]
    await streams.append([change("m1", push(None, deleted=True), deleted_at=NOW)])
    await indexed(store)
    assert await found(store, "pie") == ["pie 2"]
    assert await store.waiting() == 0
    assert await rows(database, "search_docs WHERE is_indexed = 1") == 2


@pytest.mark.gen_test
async def test_a_message_that_changes_while_it_is_indexed_is_indexed_again(
    streams: StreamStore, store: SearchStore, database: Database
) -> None:
    await streams.append([said("apple", message_id="m1")])
    batch = await database.read(lambda db: search_rows.queued(db, 10, 9999))
    await streams.append([change("m1", push("cherry"))])
    await database.run(lambda db: search_rows.index(db, batch))
    assert await found(store, "apple") == []
    await indexed(store)
    assert await found(store, "cherry") == ["cherry"]
    # A second time by a process that has lost its lease meanwhile.
    await database.run(lambda db: search_rows.index(db, batch))
    assert await found(store, "cherry") == ["cherry"]
    assert await found(store, "apple") == []


@pytest.mark.gen_test
async def test_retention_takes_messages_out_of_the_index(
    streams: StreamStore, store: SearchStore, database: Database
) -> None:
    await streams.append([said("apple", expires_at=NOW + 5), said("apple 2"), said("apple 3")])
    await streams.append([said("apple 4", expires_at=NOW + 5)])
    await indexed(store)
    await streams.expire(NOW + 6)
    assert await found(store, "apple") == ["apple 3", "apple 2"]
    await streams.append([said("late", expires_at=NOW + 5)])
    await streams.expire(NOW + 6)
    await indexed(store)
    assert await rows(database, "search_docs") == 2
    assert await store.waiting() == 0


@pytest.mark.gen_test
async def test_a_search_in_some_sessions(streams: StreamStore, store: SearchStore) -> None:
    await streams.append([said(f"apple {name}", name) for name in ("s1", "s2", "s3")])
    await indexed(store)
    assert await found(store, "apple", sessions=["s1", "s3", "s9"]) == ["apple s3", "apple s1"]
    assert await found(store, "apple", sessions=["s9"]) == []
    assert await found(store, "apple", sessions=[]) == []


@pytest.mark.parametrize("compared", [200, 10**6])
@pytest.mark.gen_test
async def test_pages_follow_each_other(
    streams: StreamStore, store: SearchStore, monkeypatch: pytest.MonkeyPatch, compared: int
) -> None:
    monkeypatch.setattr(search, "COMPARED_BYTES", compared)
    monkeypatch.setattr(search, "CANDIDATES", 10)
    monkeypatch.setattr(search, "_ASKED_AT_ONCE", 5)
    monkeypatch.setattr(search, "_READ_AT_ONCE", 3)
    # Every third has all grams of the query, but not the query.
    texts = [f"abcd {n}" if n % 3 else f"abc bcd {n}" for n in range(60)]
    await streams.append([said(text) for text in texts])
    await indexed(store)
    seen: list[str] = []
    before: int | None = LARGEST_INT
    pages = 0
    while before is not None:
        page = await ask(store, "abcd", before=before, limit=7)
        seen += [json.loads(each.found.payload)["message"]["content"] for each in page.hits]
        assert len(page.hits) <= 7
        before = page.rest
        pages += 1
    assert seen == [text for text in reversed(texts) if "abcd" in text]
    assert pages > (12 if compared == 200 else 6)


@pytest.mark.gen_test
async def test_no_more_is_read_than_can_be_shown(streams: StreamStore, store: SearchStore) -> None:
    await streams.append([said(f"long {number} {'x' * 1000}") for number in range(9)])
    await indexed(store)
    page = await ask(store, "long", room=2500)
    assert len(page.hits) == 3
    rest = await ask(store, "long", room=1, before=page.rest)
    assert [json.loads(hit.found.payload)["message"]["content"][:6] for hit in rest.hits] == [
        "long 5"
    ]


@pytest.mark.gen_test
async def test_a_message_past_its_own_time_is_not_found(
    streams: StreamStore, store: SearchStore
) -> None:
    await streams.append([said("apple", expires_at=NOW + 5, has_ttl=True)])
    await indexed(store)
    assert await found(store, "apple", now=NOW + 4) == ["apple"]
    assert await found(store, "apple", now=NOW + 5) == []


@pytest.mark.gen_test
async def test_what_was_stored_before_the_index_is_indexed_in_its_order(
    streams: StreamStore, store: SearchStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_REBUILT_AT_ONCE", 3)
    at = [said(f"apple {n}", expires_at=NOW + 100 + n) for n in range(8)]
    await streams.append([*at, *several("user:u1", "i1", "i2")])

    def unindexed(db: Any) -> None:  # as before the migration
        db.execute("DELETE FROM search_queue")

    await database.run(unindexed)
    await store.begin()
    assert await store.prepare()
    await streams.append([said("apple new")])  # meanwhile
    await indexed(store)
    while await store.prepare():
        pass
    await indexed(store)
    expected = ["apple new", *[f"apple {n}" for n in reversed(range(8))]]
    assert await found(store, "apple") == expected
    assert not await store.prepare()
    # Another version of the normal form: everything again.
    await database.run(
        lambda db: db.execute("UPDATE meta SET value = '0' WHERE key = 'search_version'").rowcount
    )
    await store.begin()
    while await store.prepare():
        pass
    await indexed(store)
    assert sorted(await found(store, "apple")) == sorted(expected)


@pytest.mark.gen_test
async def test_compacting_leaves_what_is_there(
    streams: StreamStore, store: SearchStore, database: Database
) -> None:
    for number in range(30):
        await streams.append([said(f"apple {number}", message_id=f"c{number}")])
        await indexed(store)
    gone = [change(f"c{n}", push(None, deleted=True), deleted_at=NOW) for n in range(0, 30, 2)]
    await streams.append(gone)
    await store.compact()
    assert await found(store, "apple") == [f"apple {n}" for n in range(29, 0, -2)]


@pytest.mark.gen_test
async def test_it_is_known_whether_messages_come_meanwhile(
    streams: StreamStore, store: SearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BATCH_MESSAGES", 2)
    seen = []
    for coming in (4, 3, 0, 0, 0, 1, 0):
        if coming:
            await streams.append([said("apple") for _ in range(coming)])
        await store.index()
        seen.append(store.is_growing)
    assert seen == [False, True, False, False, False, True, False]


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_a_batch_becomes_one_part_of_the_index(
    streams: StreamStore, store: SearchStore, database: Database
) -> None:
    await streams.append([said(f"apple {number}") for number in range(9)])
    await indexed(store)
    sql = "SELECT count(DISTINCT segid) FROM search_trigrams_idx"
    assert await database.read(lambda db: db.execute(sql).fetchone()) == (1,)


@pytest.mark.sqlite_only
@pytest.mark.gen_test
async def test_nothing_of_a_deleted_message_stays_in_the_index(
    streams: StreamStore, store: SearchStore, database: Database
) -> None:
    await streams.append([said("apple"), said("wxyz", message_id="m1")])
    await indexed(store)

    async def blocks() -> bytes:
        return await database.read(
            lambda db: b"".join(b for (b,) in db.execute("SELECT block FROM search_trigrams_data"))
        )

    assert b"xyz" in await blocks()
    await streams.append([change("m1", push(None, deleted=True), deleted_at=NOW)])
    await store.compact()
    assert b"xyz" not in await blocks()
    assert b"ple" in await blocks()


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.gen_test
async def test_messages_that_come_while_the_index_begins_anew_are_enqueued_once(
    streams: StreamStore, store: SearchStore, database: Database, before: int
) -> None:
    await streams.append([said(f"tea {n}") for n in range(before)])
    await database.run(search_rows.begin_anew)
    await streams.append([said("tea soon")])
    await store.index()
    await streams.append([said("tea then"), said("tea now", expires_at=NOW + 1)])
    while await store.prepare():
        pass
    assert await store.waiting() == before + 2
    await indexed(store)
    stored = [f"tea {n}" for n in reversed(range(before))]
    assert await found(store, "tea") == ["tea now", "tea then", "tea soon", *stored]


@pytest.mark.gen_test
async def test_what_is_enqueued_next_is_limited_before_it_is_joined(
    streams: StreamStore, database: Database
) -> None:
    """Else the plan for messages that all expire at one time compares them with each stream."""
    await streams.append([said(f"tea {n}", session=f"s{n}") for n in range(200)])

    def plan(db: Any) -> str:
        explain = "EXPLAIN QUERY PLAN" if database.KIND == "sqlite" else "EXPLAIN"
        rows = db.execute(f"{explain} {search_rows._SELECT_NEXT}", [NOW, 0, 10]).fetchall()
        return "\n".join(str(row[-1]) for row in rows)

    found = await database.read(plan)
    if database.KIND == "sqlite":
        assert "USING INDEX messages_by_expiry" in found
    else:
        assert re.search(r"(Join|Loop)(.|\n)*Limit", found), found
