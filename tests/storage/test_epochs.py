from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from tests.support.message_rows import NOW, message
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.epochs import fork_epochs
from wsserver.storage.messages.streams import StreamStore


@pytest.mark.gen_test
async def test_a_copy_used_in_place_of_the_original_starts_a_new_numbering(
    database: Database, path: Path, make_database: Callable[..., Database]
) -> None:
    key = ("client:u1", "k")
    (position,) = await StreamStore(database).append([message("session:s1", "a", dedup=key)])
    copy = path.with_name("backup.sqlite3")
    await database.close()
    shutil.copy(path, copy)
    with closing(sqlite_utils.Database(copy)) as db:
        fork_epochs(db)
    copy.replace(path)
    restored = make_database()
    await restored.open()
    streams = StreamStore(restored)
    head, unused = await streams.head("session:s1"), await streams.head("session:unused")
    assert (head.offset, head.epoch) == (1, unused.epoch)
    assert head.epoch != position.epoch
    (repeated,) = await streams.append([message("session:s1", "b", dedup=key)])
    assert repeated == position._replace(epoch=head.epoch, is_new=False)
    (found,) = await streams.locate(["a"], NOW)
    assert found.epoch == head.epoch


def test_a_fork_joins_its_caller_s_transaction(tmp_path: Path) -> None:
    with closing(sqlite_utils.Database(tmp_path / "copy.sqlite3")) as db:
        db.execute("CREATE TABLE meta (key TEXT, value TEXT)")
        db.execute("CREATE TABLE streams (epoch TEXT)")
        db.execute("CREATE TABLE dedup (epoch TEXT)")
        db.execute("INSERT INTO streams VALUES ('epoch_old')")
        db.begin()
        fork_epochs(db)
        db.rollback()
        assert db.execute("SELECT epoch FROM streams").fetchall() == [("epoch_old",)]


def test_a_copy_from_before_there_were_streams_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite_utils.Database(tmp_path / "copy.sqlite3")) as db:
        fork_epochs(db)
        assert db.table_names() == []
