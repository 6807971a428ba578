"""Messages that are changed in place, and the records of their changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.message_rows import NOW, RETENTION_S, rows, several, wanted
from wsserver.errors import Forbidden, NotFound
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.streams import (
    Append,
    Appended,
    Kept,
    Revised,
    Revision,
    StreamStore,
    Subject,
)

S1 = "session:s1"


@pytest.fixture
def store(database: Database) -> StreamStore:
    return StreamStore(database)


def said(message_id: str, text: str, stream: str = S1, **fields: Any) -> Append:
    given = {"expires_at": NOW + RETENTION_S, **fields}
    return Append(stream, message_id, "new_message", push(text), NOW, **given)


def push(text: str) -> bytes:
    return json.dumps({"type": "new_message", "message": {"content": text}}).encode()


def revision(message_id: str, text: str, **fields: Any) -> Revision:
    return Revision(S1, message_id, lambda _: Revised(push(text), **fields))


def record(record_id: str, change: Revision, **fields: Any) -> Append:
    payload = b'{"type":"message_updated","id":"%s"}' % record_id.encode()
    given = {"expires_at": NOW + RETENTION_S, "has_ttl": True, **fields}
    return Append(S1, record_id, "message_updated", payload, NOW, revision=change, **given)


def texts(kept: list[Kept]) -> dict[int, str]:
    return {each.offset: json.loads(each.payload)["message"]["content"] for each in kept}


async def read(store: StreamStore, **fields: Any) -> list[Kept]:
    return (await store.read(wanted(S1, **fields))).messages


@pytest.mark.gen_test
async def test_a_message_keeps_its_offset_and_records_have_its_newest_version(
    store: StreamStore,
) -> None:
    await store.append([said("a", "one"), said("b", "other")])
    first = await store.append([record("r1", revision("a", "two"))])
    second = await store.append([said("c", "third"), record("r2", revision("a", "three"))])
    assert [each.offset for each in (*first, *second)] == [3, 4, 5]
    assert first[0].change is not None
    assert (first[0].change.offset, first[0].change.revision) == (1, 1)
    assert json.loads(first[0].change.message) == {"content": "two"}
    assert (second[0].change, second[1].change and second[1].change.revision) == (None, 2)

    kept = await read(store)
    assert texts(kept) == {1: "three", 2: "other", 3: "three", 4: "third", 5: "three"}
    assert [each.changes for each in kept] == [0, 0, 1, 0, 1]
    assert [each.revision for each in kept] == [2, 0, 2, 0, 2]
    assert texts(await read(store, with_changes=False)) == {1: "three", 2: "other", 4: "third"}
    back = await store.read_back(wanted(S1, limit=2, with_changes=False))
    assert texts(back.messages) == {2: "other", 4: "third"}
    found, _ = await store.find(["r1"], NOW, 9999)
    assert json.loads(found[0].payload)["message"] == {"content": "three"}
    gap = await store.gap(S1, first[0].epoch, 4, NOW, 10, 9999)
    assert (texts(gap.messages), gap.messages[0].changes) == ({5: "three"}, 1)  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_a_refused_change_takes_no_offset_and_harms_no_other(store: StreamStore) -> None:
    def refuse(subject: Subject) -> Revised:
        raise Forbidden(f"not yours: {subject.sender}")

    await store.append([said("a", "one", sender="u1"), said("z", "one", stream="session:s2")])
    answers = await store.append(
        [
            record("r1", Revision(S1, "a", refuse)),
            said("b", "two"),
            record("r2", revision("unknown", "two")),
            record("r3", revision("z", "two")),
            record("r4", revision("a", "two")),
        ]
    )
    assert [each.offset for each in answers] == [0, 2, 0, 0, 3]
    refusals = [each.refusal for each in answers]
    assert str(refusals[0]) == "not yours: u1"
    assert [type(each) for each in refusals] == [
        Forbidden,
        type(None),
        NotFound,
        NotFound,
        type(None),
    ]
    assert texts(await read(store)) == {1: "two", 2: "two", 3: "two"}


@pytest.mark.gen_test
async def test_each_of_several_changes_at_once_sees_the_one_before(store: StreamStore) -> None:
    def add(text: str) -> Revision:
        def revise(subject: Subject) -> Revised:
            return Revised(push(json.loads(subject.payload)["message"]["content"] + text))

        return Revision(S1, "a", revise)

    await store.append([said("a", "1")])
    await store.append([record("r1", add("2")), record("r2", add("3"))])
    (outcome,) = await store.revise([add("4")])
    assert isinstance(outcome, tuple)
    subject, change = outcome
    assert (subject.offset, change.revision) == (1, 3)
    assert texts(await read(store)) == {1: "1234", 2: "1234", 3: "1234"}


@pytest.mark.gen_test
async def test_a_record_appended_again_is_the_same_and_has_its_change(store: StreamStore) -> None:
    await store.append([said("a", "one")])
    (first,) = await store.append([record("r1", revision("a", "two"))])
    (again,) = await store.append([record("r1", revision("a", "never"))])
    assert again == first._replace(is_new=False)
    assert texts(await read(store)) == {1: "two", 2: "two"}


@pytest.mark.gen_test
async def test_a_budget_counts_the_message_in_a_record(store: StreamStore) -> None:
    await store.append([said("a", "one")])
    await store.append([record("r1", revision("a", "x" * 1000))])
    part = await store.read(wanted(S1, after=1, budget=1200))
    assert len(part.messages) == 1
    part = await store.read(wanted(S1, after=1, budget=1000, is_whole=True))
    assert (part.messages, part.is_over) == ([], True)


@pytest.mark.gen_test
async def test_records_go_with_their_message(store: StreamStore, database: Database) -> None:
    await store.append([said("a", "one", expires_at=NOW + 10), *several(S1, "b", "c")])
    await store.append([record("r1", revision("a", "two"), expires_at=NOW + 10)])
    await store.append(several(S1, "d"))
    assert {each.message_id for each in await store.expire(NOW + 10)} == {"a", "r1"}
    assert (await store.head(S1)).first_offset == 2  # not 5: the record left no gap
    assert await rows(database, "messages") == 3


@pytest.mark.gen_test
async def test_records_go_with_a_message_beyond_the_limit(store: StreamStore) -> None:
    await store.append([said("a", "one"), *several(S1, "b", "c")])
    await store.append([record("r1", revision("a", "two"))])
    assert {each.message_id for each in await store.trim(3)} == {"a", "r1"}
    assert [each.message_id for each in await read(store)] == ["b", "c"]
    assert (await store.head(S1)).first_offset == 2


@pytest.mark.gen_test
async def test_records_are_no_messages_of_their_publisher(store: StreamStore) -> None:
    await store.append([said("a", "one", sender="u1", origin='{"user_id":"u1"}')])
    await store.append([record("r1", revision("a", "two"), origin='{"user_id":"boss"}')])
    assert [each.user_id for each in (await store.writers([S1]))[S1]] == ["u1"]


@pytest.mark.gen_test
async def test_a_deleted_message_is_known_as_such(store: StreamStore, database: Database) -> None:
    await store.append([said("a", "one")])
    await store.append([record("r1", revision("a", "", deleted_at=NOW + 1))])
    seen: list[float | None] = []

    def look(subject: Subject) -> Revised:
        seen.append(subject.deleted_at)
        raise Forbidden

    (answer,) = await store.append([record("r2", Revision(S1, "a", look))])
    assert isinstance(answer, Appended)
    assert seen[-1] == NOW + 1
    (deleted,) = await database.read(
        lambda db: db.execute("SELECT deleted_at FROM messages WHERE message_id = 'a'").fetchone()
    )
    assert deleted == NOW + 1
