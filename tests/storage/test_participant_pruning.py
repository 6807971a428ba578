"""Read positions in sessions that never came to be are deleted after a while."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.message_rows import RETENTION_S, message
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import participant_pruning
from wsserver.storage.messages.participant_pruning import KEPT_S, PERIOD_S, ParticipantPruning
from wsserver.storage.messages.streams import StreamStore

NOW = 1_700_000_000.0
LONG_AGO = NOW - KEPT_S - 1
ROWS = {  # user, session: when, is a member
    ("u1", "abandoned"): (LONG_AGO, 0),
    ("u2", "abandoned"): (LONG_AGO, 1),
    ("u3", "abandoned"): (NOW - KEPT_S + 1, 0),
    ("u1", "spoken"): (LONG_AGO, 0),
    ("u1", "titled"): (LONG_AGO, 0),
    ("u2", "never"): (LONG_AGO, 0),
    ("u4", "never"): (LONG_AGO, 0),
}
STALE = {("u1", "abandoned"), ("u2", "never"), ("u4", "never")}


async def fill(database: Database) -> None:
    def insert(db: Connection) -> None:
        db.insert(
            "participants",
            "user_id, session_id, start_offset, read_offset, seen, read_at, is_member, has_joined",
            [[*pair, 0, 0, 0, at, is_member, 1] for pair, (at, is_member) in ROWS.items()],
        )
        columns = "session_id, title, created_at, updated_at"
        db.insert("conversations", columns, [["titled", "T", NOW, NOW]])

    await StreamStore(database).append(
        [message("session:spoken", "m1", at=NOW, expires_at=NOW + RETENTION_S)]
    )
    await database.run(insert)


async def left(database: Database) -> set[Any]:
    select = "SELECT user_id, session_id FROM participants"
    return set(await database.read(lambda db: list(map(tuple, db.execute(select).fetchall()))))


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_what_belongs_to_no_session_goes(
    database: Database, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(participant_pruning, "SCAN_ROWS", size)
    monkeypatch.setattr(participant_pruning, "BATCH_ROWS", size)
    await fill(database)
    before = await left(database)
    pruning = ParticipantPruning(database)
    assert await pruning.run(NOW) == len(STALE)
    assert await left(database) == before - STALE
    assert await ParticipantPruning(database).run(NOW) == 0


@pytest.mark.gen_test
async def test_the_table_is_looked_at_once_a_day(database: Database) -> None:
    await fill(database)
    pruning = ParticipantPruning(database)
    assert await pruning.run(LONG_AGO) == 0
    assert await pruning.run(LONG_AGO + PERIOD_S - 1) == 0
    assert await pruning.run(NOW) == len(STALE)
