"""The state and the holder of sessions in the database."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlite_utils

from tests.support.message_rows import several
from wsserver.errors import Forbidden, NoResponder, OrganizationSet, TermChanged
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.migrations import MIGRATIONS
from wsserver.storage.messages.conversations import (
    KEPT_S,
    Conversation,
    ConversationChange,
    ConversationStore,
    Holder,
    HolderWish,
    in_term,
)
from wsserver.storage.messages.message_rows import Append
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.tables.access_lists import AccessChangeStore, MemberStore, number_members

ALICE, AI = Holder("user", "alice"), Holder("ai", "fastgpt")


async def change(
    store: ConversationStore, at: float = 1.0, **values: str | None
) -> ConversationChange:
    number = partial(number_members, session_id="s1")
    return await store.change("s1", values, "boss", at, number)


async def found(database: Database, session_id: str = "s1") -> Conversation | None:
    return (await ConversationStore(database).find([session_id])).get(session_id)


@pytest.mark.gen_test
async def test_a_session_begins_with_its_first_message_member_or_change(
    database: Database,
) -> None:
    streams = StreamStore(database)
    assert await found(database) is None
    await streams.append(several("session:s1", "a", "b", at=5.0))
    await streams.append(several("session:s1", "d", at=9.0))
    await streams.append(several("user:u1", "e"))
    first = await found(database)
    assert first == Conversation("s1", created_at=5.0, updated_at=5.0)
    await MemberStore(database).replace("s2", [], "boss", 2.0)
    assert await found(database, "s2") is None
    await MemberStore(database).replace("s2", ["u1"], "boss", 3.0)
    second = await found(database, "s2")
    assert second is not None
    assert second.created_at == 3.0
    await ConversationStore(database).hold("s3", HolderWish(None), "boss", 4.0)
    assert (await found(database, "s3")) == Conversation("s3", created_at=4.0, updated_at=4.0)
    assert await found(database, "u1") is None


@pytest.mark.gen_test
async def test_the_default_ai_holds_sessions_however_they_begin(database: Database) -> None:
    await StreamStore(database, "fastgpt").append(several("session:s1", "a"))
    await MemberStore(database, "fastgpt").replace("s2", ["u1"], "boss", 1.0)
    await ConversationStore(database, "fastgpt").hold("s3", HolderWish(ALICE), "alice", 1.0)
    for session_id, holder, term in (("s1", AI, 0), ("s2", AI, 0), ("s3", ALICE, 1)):
        session = await found(database, session_id)
        assert session is not None
        assert (session.holder, session.term, session.last_ai) == (holder, term, "fastgpt")


@pytest.mark.gen_test
async def test_a_change_says_what_differs(database: Database) -> None:
    store = ConversationStore(database)
    changed = await change(store, title="Acme", metadata='{"a":1}')
    assert changed.fields == ("title", "metadata")
    assert changed.before == Conversation("s1", created_at=1.0, updated_at=1.0)
    assert changed.after == await found(database)
    again = await change(store, 2.0, title="Acme", state="open")
    assert again.fields == ()
    assert again.after == changed.after
    assert (await change(store, 3.0, title=None)).after.title is None
    assert (await change(store, 4.0, state="closed")).after.updated_at == 4.0


@pytest.mark.gen_test
async def test_an_organization_is_set_once(database: Database) -> None:
    store = ConversationStore(database)
    assert await store.organizations(["s1"]) == {}
    assert (await change(store, organization_id="o1")).version == 1
    with pytest.raises(OrganizationSet):
        await change(store, organization_id="o2", title="not this either")
    assert (await change(store, organization_id="o1")).fields == ()
    assert (await found(database)) == Conversation(
        "s1", organization_id="o1", created_at=1.0, updated_at=1.0
    )
    assert await store.organizations(["s1", "s2"]) == {"s1": "o1"}
    assert await AccessChangeStore(database).version() == 2


@pytest.mark.gen_test
async def test_the_term_rises_with_each_other_holder(database: Database) -> None:
    hold = ConversationStore(database).hold
    terms = []
    for holder in (ALICE, ALICE, AI, None, None, ALICE):
        terms.append((await hold("s1", HolderWish(holder), "boss", 1.0)).after.term)
    assert terms == [1, 1, 2, 3, 3, 4]
    for term in (0, 3, 5, 2**53):
        with pytest.raises(TermChanged) as caught:
            await hold("s1", HolderWish(None, expected_term=term), "boss", 1.0)
        assert caught.value.details == {"term": 4}
    with pytest.raises(TermChanged):
        await hold("s1", HolderWish(ALICE, expected_term=3), "boss", 1.0)
    assert (await hold("s1", HolderWish(None, expected_term=4), "boss", 1.0)).after.term == 5


@pytest.mark.gen_test
async def test_a_session_is_released_to_the_ai_that_held_it_last(database: Database) -> None:
    store = ConversationStore(database)
    with pytest.raises(NoResponder):
        await store.hold("s1", HolderWish(None, is_for_ai=True), "boss", 1.0)
    assert await found(database) is None
    for holder in (AI, Holder("ai", "other"), ALICE, None):
        await store.hold("s1", HolderWish(holder), "boss", 1.0)
    after = (await store.hold("s1", HolderWish(None, is_for_ai=True), "boss", 1.0)).after
    assert (after.holder, after.term) == (Holder("ai", "other"), 5)
    with pytest.raises(Forbidden):
        await store.hold("s1", HolderWish(None, only_from=ALICE), "alice", 1.0)
    default = ConversationStore(database, "fastgpt")
    after = (await default.hold("s2", HolderWish(ALICE), "alice", 1.0)).after
    back = HolderWish(None, is_for_ai=True, only_from=ALICE)
    assert (await default.hold("s2", back, "alice", 1.0)).after.holder == AI


@pytest.mark.gen_test
async def test_a_message_of_another_term_is_left_out_of_its_batch(database: Database) -> None:
    streams, store = StreamStore(database), ConversationStore(database)
    await store.hold("s1", HolderWish(ALICE), "alice", 1.0)

    def batch(*terms: int | None) -> list[Append]:
        rows = several("session:s1", *[f"m{number}" for number in range(len(terms))])
        return [
            _changed(row, hook=None if term is None else in_term("s1", term))
            for row, term in zip(rows, terms, strict=True)
        ]

    places = await streams.append(batch(0, None, 1, 3))
    assert [place.offset for place in places] == [0, 1, 2, 0]
    assert [place.is_new for place in places] == [False, True, True, False]
    errors = [place.refusal and place.refusal.details for place in places]
    assert errors == [{"term": 1}, None, None, {"term": 1}]
    assert (await streams.head("session:s1")).offset == 2
    # What is stored is found again, whatever the term is by then.
    await store.hold("s1", HolderWish(None), "alice", 1.0)
    again = await streams.append(batch(0, None, 1, 3)[2:])
    assert [(place.offset, place.refusal is None) for place in again] == [(2, True), (0, False)]
    new = _changed(several("session:new", "x")[0], hook=in_term("new", 1))
    (place,) = await streams.append([new])
    assert place.refusal is not None
    assert await found(database, "new") is None
    (place,) = await streams.append([_changed(new, hook=in_term("new", 0))])
    assert place.offset == 1


@pytest.mark.gen_test
async def test_changes_are_logged_and_pruned(database: Database) -> None:
    store, members = ConversationStore(database), MemberStore(database)
    await change(store, 1.0, title="A", state="pending", metadata='{"a":"中"}')
    await store.hold("s1", HolderWish(ALICE), "alice", 2.0)
    await members.replace("s1", ["u1"], "boss", 3.0)
    await members.replace("s1", ["u1"], "boss", 4.0)
    rows = await database.read(
        lambda db: db.execute(
            "SELECT at, changed_by, field, value FROM conversation_changes ORDER BY id"
        ).fetchall()
    )
    assert rows == [
        (1.0, "boss", "title", '"A"'),
        (1.0, "boss", "state", '"pending"'),
        (1.0, "boss", "metadata", '{"a":"中"}'),
        (2.0, "alice", "holder", '{"holder":{"type":"user","id":"alice"},"term":1,"former":null}'),
        (3.0, "boss", "members", '{"added":["u1"],"removed":[]}'),
    ]
    assert await store.prune(2.5 + KEPT_S) == 4
    assert await store.prune(2.5 + KEPT_S) == 0


@pytest.mark.sqlite_only
def test_sessions_from_before_exist_since_their_first_message_or_member(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite_utils.Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="m0048_conversations")
        db.execute("INSERT INTO session_members VALUES ('s1', 'u1', 'admin', 7.0)")
        db.execute("INSERT INTO session_members VALUES ('s3', 'u1', 'admin', 8.0)")
        for id_, name, at in ((1, "session:s1", 2.0), (2, "session:s2", 6.0), (3, "user:u", 1.0)):
            db.execute("INSERT INTO streams VALUES (?, ?, 'e', 9, 1, ?)", [id_, name, at])
        for offset, at in ((4, 5.0), (5, 6.0)):
            db.execute(
                "INSERT INTO messages VALUES (?, ?, 't', ?, 9.0, 0, NULL, '{}', NULL, x'')",
                [(1 << 38) + offset, f"m{offset}", at],
            )
        MIGRATIONS.apply(db)
        rows = db.execute("SELECT session_id, created_at FROM conversations ORDER BY 1").fetchall()
    assert rows == [("s1", 5.0), ("s2", 6.0), ("s3", 8.0)]


def _changed(row: Append, **fields: Any) -> Append:
    return msgspec.structs.replace(row, **fields)
