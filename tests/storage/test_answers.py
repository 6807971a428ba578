"""Answers that grow in the database: begin, texts written behind, owners, and the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.storage.conftest import MakeDatabase
from tests.support.message_rows import NOW, RETENTION_S, rows, several, wanted
from wsserver.errors import AnswerEnded, Forbidden, NotFound, TermChanged
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.answers import (
    AnswerMoved,
    AnswerRow,
    AnswerStore,
    Closing,
    GrowingPlace,
    Progress,
    Write,
    end_deleted,
    require_begin,
    require_same_holder,
)
from wsserver.storage.messages.streams import (
    Append,
    Appended,
    Revised,
    Revision,
    StreamStore,
    TransactionHook,
)

S1 = "session:s1"


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


@pytest.fixture
def answers(database: Database) -> AnswerStore:
    return AnswerStore(database, "node-1")


async def begin(
    streams: StreamStore,
    answers: AnswerStore,
    id_: str = "a",
    session_id: str = "s1",
    text: str = "",
) -> Appended:
    hook = answers.beginning(id_, session_id, text, NOW, lambda db: 3)
    return (await streams.append([message(id_, session_id, text, hook)]))[0]


def message(
    id_: str, session_id: str, text: str, hook: TransactionHook | None = None, **fields: Any
) -> Append:
    given = {"expires_at": NOW + RETENTION_S, "hook": hook, **fields}
    return Append(f"session:{session_id}", id_, "new_message", push(text), NOW, **given)


def push(text: str, state: str = "growing") -> bytes:
    return json.dumps(
        {"type": "new_message", "message": {"content": text, "state": state}}
    ).encode()


def progress(seq: int, length: int, **fields: Any) -> Progress:
    return Progress(seq, length, "digest", NOW, NOW + seq, "[]", "[]")._replace(**fields)


def closing(
    id_: str = "a", generation: int = 1, state: str = "completed", **fields: Any
) -> Closing:
    closed = Closing(id_, generation, progress(2, 5), state, None, NOW + 9, None, "end", 5, "bob")
    return closed._replace(**fields)


def no_check(db: Connection, row: AnswerRow) -> None:
    """Take any answer."""


async def end(
    streams: StreamStore, answers: AnswerStore, closing: Closing, check: Any = no_check
) -> Appended:
    revision = Revision(S1, closing.message_id, lambda _: Revised(push("whole", closing.state)))
    record = Append(
        S1,
        f"end-{closing.state}-{closing.generation}",
        "answer_ended",
        b'{"type":"answer_ended"}',
        NOW,
        NOW + RETENTION_S,
        True,
        revision=revision,
        hook=answers.ending(closing, check),
    )
    return (await streams.append([record]))[0]


@pytest.mark.gen_test
async def test_an_answer_begins_with_its_message(
    streams: StreamStore, answers: AnswerStore
) -> None:
    await streams.append(several(S1, "m"))
    place = await begin(streams, answers, text="so")
    assert (place.offset, place.checked) == (2, 3)
    row = await answers.find("a")
    assert row is not None
    assert (row.session_id, row.state, row.term, row.seq, row.length) == ("s1", "growing", 3, 0, 2)
    assert (row.owner, row.node, row.generation) == (answers.owner, "node-1", 1)
    assert (row.started_at, row.first_text_at, row.last_text_at) == (NOW, NOW, NOW)
    assert await answers.growing(["s0", "s1"]) == [GrowingPlace("a", "s1", "node-1")]
    assert await answers.own() == ["a"]
    ends = await streams.ends([S1, "session:s0", "broadcast"])
    assert ends.growing == {S1: [GrowingPlace("a", "s1", "node-1")]}
    assert (ends.heads[S1].offset, ends.heads["broadcast"].offset) == (2, 0)


@pytest.mark.gen_test
async def test_without_a_first_text_its_time_is_open(
    streams: StreamStore, answers: AnswerStore
) -> None:
    await begin(streams, answers)
    row = await answers.find("a")
    assert row is not None
    assert (row.first_text_at, row.last_text_at, row.last_digest) == (None, None, None)


@pytest.mark.gen_test
async def test_text_that_is_written_again_after_an_unknown_outcome_is_stored_once(
    streams: StreamStore, answers: AnswerStore
) -> None:
    await begin(streams, answers, text="so ")
    await answers.save([Write("a", 1, progress(1, 6), "far")])
    await answers.save([Write("a", 1, progress(1, 6), "far")])
    await answers.save([Write("a", 1, progress(2, 8), "far 🙂")])
    (stored,) = await answers.read(["a"])
    assert (stored.text, stored.row.seq, stored.row.length) == ("far 🙂", 2, 8)


@pytest.mark.gen_test
async def test_texts_are_written_behind_in_parts(
    streams: StreamStore, answers: AnswerStore, database: Database
) -> None:
    await begin(streams, answers, text="so ")
    parts = ["far", " ", "\x00🙂"]  # no text type of PostgreSQL has NUL
    length = 3
    for seq, part in enumerate(parts, 2):
        length += len(part)
        assert await answers.save([Write("a", 1, progress(seq, length), part)]) == set()
    assert length == 9
    # Without new text nothing is added.
    await answers.save([Write("a", 1, progress(5, 9, watchers='[["u",1,null]]'), "")])
    assert await rows(database, "answer_texts") == 3
    (stored,) = await answers.read(["a", "unknown"])
    assert stored.text == "far \x00🙂"
    assert (stored.push, stored.offset, stored.audience) == (push("so "), 1, None)
    assert (stored.expires_at, stored.epoch) == (NOW + RETENTION_S, (await streams.head(S1)).epoch)
    assert (stored.row.seq, stored.row.length, stored.row.last_digest) == (5, 9, "digest")
    assert stored.row.watchers == '[["u",1,null]]'


@pytest.mark.gen_test
async def test_the_end_replaces_the_message_and_its_parts(
    streams: StreamStore, answers: AnswerStore, database: Database
) -> None:
    await begin(streams, answers)
    await answers.save([Write("a", 1, progress(1, 3), "who")])
    place = await end(
        streams, answers, closing(reason="why", usage='{"tokens":5}', state="failed", length=7)
    )
    assert (place.offset, place.refusal) == (2, None)
    row = await answers.find("a")
    assert row is not None
    assert (row.state, row.reason, row.usage) == ("failed", "why", '{"tokens":5}')
    assert (row.seq, row.length, row.closing_length, row.closing_offset) == (2, 5, 7, 2)
    assert row.ended_by == "bob"
    assert (row.ended_at, row.closing_digest) == (NOW + 9, "end")
    assert await rows(database, "answer_texts") == 0
    kept = (await streams.read(wanted(S1))).messages
    assert json.loads(kept[0].payload)["message"] == {"content": "whole", "state": "failed"}
    assert json.loads(kept[1].payload)["message"] == {"content": "whole", "state": "failed"}
    assert (await answers.growing(["s1"]), await answers.own()) == ([], [])
    (stored,) = await answers.read(["a"])
    assert stored.text == ""


@pytest.mark.gen_test
async def test_an_answer_ends_once(streams: StreamStore, answers: AnswerStore) -> None:
    await begin(streams, answers)
    await end(streams, answers, closing(state="cancelled", reason="enough"))
    refused = await end(streams, answers, closing())
    assert isinstance(refused.refusal, AnswerEnded)
    assert refused.refusal.details == {"state": "cancelled", "reason": "enough"}
    assert (await streams.head(S1)).offset == 2
    unknown = await end(streams, answers, closing("unknown"))
    assert isinstance(unknown.refusal, NotFound)


@pytest.mark.gen_test
async def test_the_end_may_be_refused(streams: StreamStore, answers: AnswerStore) -> None:
    def refuse(db: Connection, row: AnswerRow) -> None:
        raise Forbidden(f"term {row.term}")

    await begin(streams, answers)
    refused = await end(streams, answers, closing(), refuse)
    assert str(refused.refusal) == "term 3"
    row = await answers.find("a")
    assert row is not None
    assert row.state == "growing"


@pytest.mark.gen_test
async def test_a_former_owner_writes_and_ends_nothing(
    streams: StreamStore, answers: AnswerStore, make_database: MakeDatabase, database: Database
) -> None:
    await begin(streams, answers, text="so ")
    await answers.save([Write("a", 1, progress(1, 6), "far")])
    later = AnswerStore(database, "node-2")
    later.owner = "another process"
    (claimed,) = await later.claim()
    assert (claimed.row.owner, claimed.row.node) == ("another process", "node-2")
    assert (claimed.row.generation, claimed.text) == (2, "far")
    assert await later.claim() == []
    assert await answers.save([Write("a", 1, progress(2, 9), "lost")]) == {"a"}
    assert isinstance((await end(streams, answers, closing())).refusal, AnswerMoved)
    assert await later.save([Write("a", 2, progress(2, 9), "new")]) == set()
    # Nor the same process with an older generation.
    assert await later.save([Write("a", 1, progress(3, 9), "old")]) == {"a"}
    assert (await end(streams, later, closing(generation=2))).refusal is None


@pytest.mark.gen_test
async def test_one_answer_can_be_taken_over(streams: StreamStore, answers: AnswerStore) -> None:
    await begin(streams, answers, "a")
    await begin(streams, answers, "b", "s2")
    later = AnswerStore(answers._database, "node-2")
    later.owner = "another process"
    assert [each.row.message_id for each in await later.claim("b")] == ["b"]
    assert [each.row.message_id for each in await later.claim()] == ["a"]


@pytest.mark.gen_test
async def test_a_deleted_message_ends_its_answer(
    streams: StreamStore, answers: AnswerStore, database: Database
) -> None:
    await begin(streams, answers)
    await answers.save([Write("a", 1, progress(1, 3), "far")])
    deleted = Revision(S1, "a", lambda _: Revised(b'{"message":{}}', deleted_at=NOW + 4))
    await streams.revise([deleted])
    await database.run(lambda db: end_deleted(db, ["a", "b"]))
    assert await rows(database, "answer_texts") == 0
    assert await answers.save([Write("a", 1, progress(2, 6), "more")]) == {"a"}
    row = await answers.find("a")
    assert row is not None
    assert (row.state, row.reason, row.ended_at) == ("cancelled", "deleted", NOW + 4)


@pytest.mark.gen_test
async def test_an_answer_goes_with_its_message(
    streams: StreamStore, answers: AnswerStore, database: Database
) -> None:
    await begin(streams, answers)
    await answers.save([Write("a", 1, progress(1, 3), "far")])
    await streams.expire(NOW + RETENTION_S)
    assert await answers.find("a") is None
    assert await rows(database, "answer_texts") == 0
    assert await answers.save([Write("a", 1, progress(2, 6), "away")]) == {"a"}


@pytest.mark.gen_test
async def test_an_answer_begins_in_the_expected_term(database: Database) -> None:
    await database.run(
        lambda db: (
            db.execute(
                "INSERT INTO conversations (session_id, term, created_at, updated_at)"
                " VALUES ('s1', 4, 1, 1)"
            ).rowcount
        )
    )

    def ask(session_id: str, term: int | None) -> Any:
        return database.read(lambda db: require_begin(db, session_id, term))

    assert [await ask("s1", None), await ask("s1", 4), await ask("new", 0)] == [4, 4, 0]
    with pytest.raises(TermChanged) as changed:
        await ask("s1", 3)
    assert changed.value.details == {"term": 4}
    await database.read(lambda db: require_same_holder(db, "s1", 4))
    with pytest.raises(TermChanged):
        await database.read(lambda db: require_same_holder(db, "s1", 3))
