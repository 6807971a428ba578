"""What is checked and written in the transaction of a message: all of it, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.message_rows import NOW, RETENTION_S, rows, several, wanted
from wsserver.errors import Forbidden, NotFound
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
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
def store(database: Database) -> StreamStore:
    return StreamStore(database)


def message(id_: str, hook: TransactionHook | None = None, **fields: Any) -> Append:
    return Append(
        S1, id_, "new_message", b'{"type":"new_message"}', NOW, NOW + 60, hook=hook, **fields
    )


def note(db: Connection, text: str) -> None:
    db.execute("INSERT INTO meta (key, value) VALUES (?, ?)", ["noted", text])


async def noted(database: Database) -> list[str]:
    sql = "SELECT value FROM meta WHERE key = 'noted'"
    return await database.read(lambda db: [value for (value,) in db.execute(sql)])


def refuse(db: Connection) -> None:
    raise Forbidden("not now")


def write_nothing(db: Connection, checked: Any, place: Appended) -> None:
    raise AssertionError("called for a message that was refused")


def hook(text: str) -> TransactionHook:
    return TransactionHook(
        lambda db: text, lambda db, checked, place: note(db, f"{checked} at {place.offset}")
    )


@pytest.mark.gen_test
async def test_rows_are_written_together_with_the_message(
    store: StreamStore, database: Database
) -> None:
    await store.append(several(S1, "a"))
    (place,) = await store.append([message("b", hook("noted"))])
    assert (place.offset, place.checked) == (2, "noted")
    assert await noted(database) == ["noted at 2"]


@pytest.mark.gen_test
async def test_a_refused_message_leaves_no_gap_and_others_are_stored(
    store: StreamStore, database: Database
) -> None:
    refusing = TransactionHook(refuse, write_nothing)
    answers = await store.append([message("a"), message("b", refusing), message("c", hook("x"))])
    assert [each.offset for each in answers] == [1, 0, 2]
    assert isinstance(answers[1].refusal, Forbidden)
    assert [each.refusal for each in answers[::2]] == [None, None]
    assert [each.message_id for each in (await store.read(wanted(S1))).messages] == ["a", "c"]
    assert await noted(database) == ["x at 2"]


@pytest.mark.gen_test
async def test_a_message_appended_again_runs_no_hook(
    store: StreamStore, database: Database
) -> None:
    await store.append([message("a", hook("once"))])
    (again,) = await store.append([message("a", TransactionHook(refuse, write_nothing))])
    assert (again.is_new, again.refusal, again.checked) == (False, None, None)
    assert await noted(database) == ["once at 1"]


@pytest.mark.gen_test
async def test_a_refused_record_changes_nothing(store: StreamStore, database: Database) -> None:
    def record(id_: str, hook: TransactionHook, message_id: str = "a") -> Append:
        revision = Revision(S1, message_id, lambda _: Revised(json.dumps({"message": 2}).encode()))
        return message(id_, hook, revision=revision)

    await store.append([Append(S1, "a", "new_message", b'{"message":1}', NOW, NOW + RETENTION_S)])
    refusing = TransactionHook(refuse, write_nothing)
    (answer,) = await store.append([record("r1", refusing)])
    assert isinstance(answer.refusal, Forbidden)
    assert (await store.read(wanted(S1))).messages[0].payload == b'{"message":1}'
    # Nor does a hook write for a change that is refused.
    gone = TransactionHook(lambda db: None, write_nothing)
    (answer,) = await store.append([record("r2", gone, "unknown")])
    assert isinstance(answer.refusal, NotFound)
    assert await rows(database, "messages") == 1
