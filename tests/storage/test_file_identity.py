"""A database file that is deleted, moved, replaced or overwritten while it is open."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from tests.support.fake_clock import FakeClock
from wsserver.errors import StorageUnavailable
from wsserver.storage import Database
from wsserver.storage.engine.errors import DatabaseOverwritten
from wsserver.storage.engine.file_identity import FileIdentity


def add(db: sqlite_utils.Database) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS kept (n INTEGER)")
    db.execute("INSERT INTO kept VALUES (1)")


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM kept").fetchone()
        return int(rows)


def delete(path: Path) -> None:
    path.unlink()


def delete_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def delete_index(path: Path) -> None:
    Path(f"{path}-shm").unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("other"))
    os.replace(path.with_name("other"), path)


def replace_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()
    Path(f"{path}-wal").touch()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (delete, "x.sqlite3 was deleted or moved"),
        (delete_log, "x.sqlite3-wal was deleted or moved"),
        (delete_index, "x.sqlite3-shm was deleted or moved"),
        (delete_folder, "x.sqlite3 was deleted or moved"),
        (move, "x.sqlite3 was deleted or moved"),
        (replace, "x.sqlite3 was replaced by another file"),
        (replace_log, "x.sqlite3-wal was replaced by another file"),
    ],
)
@pytest.mark.gen_test
async def test_nothing_is_committed_into_a_file_that_is_gone(
    tmp_path: Path, clock: FakeClock, change: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "data" / "x.sqlite3"
    database = Database(path, clock=clock)
    await database.open()
    await database.run(add)
    change(path)
    with pytest.raises(StorageUnavailable, match=words):
        await database.run(add)
    assert database.health()["ok"] is False
    assert words in str(database.health()["last_error"])
    (rows,) = await database.read(lambda db: db.execute("SELECT count(*) FROM kept").fetchone())
    assert rows == 1, "undone, not only refused"
    await database.close()


@pytest.mark.gen_test
async def test_an_idle_database_notices_it_by_its_probe_and_takes_the_file_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "x.sqlite3"
    database = Database(path, clock=clock)
    await database.open()
    await database.run(add)
    commits = database.health()["commits"]
    await database.probe()
    assert (database.health()["ok"], database.health()["commits"]) == (True, commits)
    move(path)
    await database.probe()
    assert database.health()["ok"] is False
    (tmp_path / "elsewhere").rename(path)
    await database.probe()
    assert database.health()["ok"] is True
    await database.run(add)
    await database.close()
    assert count(path) == 2


@pytest.mark.gen_test
async def test_a_backup_copied_over_the_open_file_is_damage_and_is_left_alone(
    tmp_path: Path, clock: FakeClock
) -> None:
    path, backup = tmp_path / "x.sqlite3", tmp_path / "backup"
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("CREATE TABLE theirs (n INTEGER)")
    database = Database(path, clock=clock)
    await database.open()
    await database.run(add)
    path.write_bytes(backup.read_bytes())  # the same inode
    with pytest.raises(StorageUnavailable, match="was changed by another program"):
        await database.run(add)
    assert "restore" not in str(database.health()["last_error"])
    await database.probe()
    assert "damaged" in str(database.health()["last_error"])
    await database.close()
    assert path.read_bytes() == backup.read_bytes()


@pytest.mark.gen_test
async def test_a_file_that_was_only_touched_is_the_same(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "x.sqlite3"
    database = Database(path, clock=clock)
    await database.open()
    await database.run(add)
    os.utime(path, (1, 1))
    await database.run(add)
    await database.close()
    assert count(path) == 2


@pytest.mark.gen_test
async def test_own_checkpoints_are_no_change_of_others(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "x.sqlite3"
    database = Database(path, clock=clock)
    await database.open()
    await database.run(add)
    before = path.stat().st_mtime_ns
    # More than wal_autocheckpoint pages: this commit writes the file.
    await database.run(
        lambda db: db.execute("CREATE TABLE large AS SELECT zeroblob(4096 * 5000) AS data") and None
    )
    await database.run(add)
    assert path.stat().st_mtime_ns > before
    assert database.health()["ok"] is True
    await database.close()


def test_a_change_of_size_or_of_the_header_counts(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    files = FileIdentity(path, lambda: path.read_bytes()[:2])
    assert files.note_opened() == 5
    path.write_bytes(b"12345")
    files.check()
    path.write_bytes(b"99345")
    with pytest.raises(DatabaseOverwritten):
        files.check()
    assert files.note_written() == 5
    files.check()
    path.write_bytes(b"993456")
    with pytest.raises(DatabaseOverwritten):
        files.check()
