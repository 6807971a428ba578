from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.database_files import add_newer_migration, hashes, make_file
from tests.support.fake_clock import FakeClock
from tests.support.message_rows import message, offsets
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseUnusable
from wsserver.storage.maintenance import backup as backup_module
from wsserver.storage.maintenance.backup import BackupFailed, back_up
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.tables.access_lists import MemberStore

MakeDatabase = Callable[..., Database]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "copy.sqlite3"


def copy(path: Path, target: Path, *, force: bool = False) -> int:
    return back_up(path, target, FakeClock(), force=force).bytes


def members_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count: int = connection.execute("SELECT count(*) FROM session_members").fetchone()[0]
        return count


async def fill(database: Database, count: int = 50) -> None:
    users = [f"u{n}" for n in range(count)]
    await MemberStore(database).replace("s1", users, "admin", 1.0)


@pytest.mark.gen_test
async def test_the_copy_of_a_database_in_use_is_one_whole_file_for_its_owner(
    database: Database, path: Path, target: Path
) -> None:
    await fill(database)
    before = hashes(path)
    size = copy(path, target)
    assert hashes(path) == before
    assert members_in(target) == 50
    assert size == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    assert target.read_bytes()[18:20] == b"\x01\x01"  # no write-ahead log to come
    await fill(database, 60)


@pytest.mark.gen_test
async def test_the_copy_has_the_kept_messages_under_a_numbering_of_its_own(
    database: Database, path: Path, target: Path
) -> None:
    streams = StreamStore(database)
    await streams.append([message("session:s1", "a")])
    copy(path, target)
    restored = Database(target, clock=FakeClock())
    await restored.open()
    try:
        there = StreamStore(restored)
        assert await offsets(there, "session:s1") == {1: "a"}
        for stream in ("session:s1", "session:unused"):
            assert (await there.head(stream)).epoch != (await streams.head(stream)).epoch
    finally:
        await restored.close()


@pytest.mark.gen_test
async def test_a_server_that_writes_all_the_time_neither_stops_it_nor_gets_in(
    database: Database, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database, 500)
    loop = asyncio.get_running_loop()
    steps = []

    def write_between(status: int, remaining: int, total: int) -> None:
        steps.append(remaining)
        users = [f"v{n}" for n in range(len(steps))]
        written = MemberStore(database).replace("s2", users, "admin", 1.0)
        asyncio.run_coroutine_threadsafe(written, loop).result(10)

    monkeypatch.setattr(backup_module, "PAGES_PER_STEP", 1)
    monkeypatch.setattr(backup_module, "_handle_signals", write_between)
    await asyncio.to_thread(copy, path, target)
    assert len(steps) > 5
    assert steps == sorted(steps, reverse=True)
    assert members_in(target) == 500


@pytest.mark.gen_test
async def test_a_database_at_rest_is_copied_without_a_trace(
    make_database: MakeDatabase, path: Path, target: Path
) -> None:
    database = make_database()
    await database.open()
    await fill(database)
    await database.close()
    copy(path, target)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert members_in(target) == 50


@pytest.mark.gen_test
async def test_what_a_crash_left_in_the_log_is_copied(
    database: Database, path: Path, target: Path, tmp_path: Path
) -> None:
    await fill(database)
    crashed = tmp_path / "crashed" / path.name
    crashed.parent.mkdir()
    for suffix in ("", "-wal"):
        Path(f"{crashed}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    copy(crashed, target)
    assert members_in(target) == 50


@pytest.mark.gen_test
async def test_a_server_that_starts_meanwhile_makes_it_begin_again(
    make_database: MakeDatabase, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    database = make_database()
    loop = asyncio.get_running_loop()
    started: list[bool] = []

    def start(*_: int) -> None:
        if not started:
            started.append(True)
            for step in (database.open(), fill(database)):
                asyncio.run_coroutine_threadsafe(step, loop).result(10)

    monkeypatch.setattr(backup_module, "_handle_signals", start)
    await asyncio.to_thread(copy, path, target)
    assert members_in(target) == 50


@pytest.mark.gen_test
async def test_a_file_that_never_rests_is_given_up(
    make_database: MakeDatabase, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    moments = iter(range(1, 1000))

    def touch(*_: int) -> None:
        os.utime(path, (0, next(moments)))

    monkeypatch.setattr(backup_module, "_handle_signals", touch)
    with pytest.raises(StorageUnavailable, match="keeps changing"):
        copy(path, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.gen_test
async def test_an_existing_file_is_replaced_only_by_force(
    make_database: MakeDatabase, path: Path, target: Path
) -> None:
    await make_file(make_database)
    target.write_text("precious")
    with pytest.raises(BackupFailed, match="exists already"):
        copy(path, target)
    assert target.read_text() == "precious"
    copy(path, target, force=True)
    assert members_in(target) == 0


@pytest.mark.gen_test
async def test_the_database_itself_is_never_the_target(
    database: Database, path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.sqlite3"
    link.symlink_to(path)
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-journal"), link):
        with pytest.raises(BackupFailed, match="is the database itself, or belongs to it"):
            copy(path, name, force=True)


@pytest.mark.gen_test
async def test_another_database_in_use_is_never_the_target(
    make_database: MakeDatabase, path: Path, target: Path
) -> None:
    await make_file(make_database)
    with closing(sqlite3.connect(target, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE x (y)")
        with pytest.raises(BackupFailed, match="a database in use"):
            copy(path, target, force=True)


@pytest.mark.gen_test
async def test_targets_that_cannot_be(
    make_database: MakeDatabase, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    with pytest.raises(BackupFailed, match="is a folder"):
        copy(path, target.parent, force=True)
    with pytest.raises(BackupFailed, match="there is no folder"):
        copy(path, target / "deeper")
    monkeypatch.setattr(backup_module, "free_bytes", lambda folder: 10)
    with pytest.raises(BackupFailed, match="the disk has 10 bytes free"):
        copy(path, target)


@pytest.mark.gen_test
async def test_a_disk_that_fills_up_leaves_nothing_behind(
    make_database: MakeDatabase, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)

    def fill_up(*_: int) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(backup_module, "_handle_signals", fill_up)
    with pytest.raises(BackupFailed, match="the disk is full"):
        copy(path, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.gen_test
async def test_a_damaged_database_does_not_replace_a_good_copy(
    make_database: MakeDatabase, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    copy(path, target)
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)
    good = target.read_bytes()
    with pytest.raises(DatabaseUnusable, match="is damaged"):
        copy(path, target, force=True)
    # One too large to be looked through at first is found out in the copy.
    monkeypatch.setattr(backup_module, "check_file", lambda path: True)
    with pytest.raises(DatabaseUnusable, match="is damaged") as caught:
        copy(path, target, force=True)
    assert caught.value.path == path
    assert target.read_bytes() == good
    assert [file.name for file in target.parent.iterdir()] == [target.name]


@pytest.mark.gen_test
async def test_what_is_no_database_of_ours_is_not_copied(
    make_database: MakeDatabase, path: Path, target: Path
) -> None:
    with pytest.raises(DatabaseUnusable, match="there is no database"):
        copy(path, target)
    await make_file(make_database)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        add_newer_migration(connection)
    with pytest.raises(DatabaseUnusable, match="newer version"):
        copy(path, target)
    assert list(target.parent.iterdir()) == []
