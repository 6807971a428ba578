from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.database_files import add_newer_migration, hashes, make_file
from wsserver.storage.engine.check import CHECK_LIMIT_S, check_file, open_untouched, wal_of
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.errors import DatabaseUnusable


async def refuse(make_database: Callable[..., Database], path: Path, text: str) -> None:
    """Opening must fail, say why and how to go on, and change nothing."""
    before = hashes(path)
    with pytest.raises(DatabaseUnusable, match=text) as caught:
        await make_database().open()
    assert str(path) in str(caught.value)
    assert "nothing was changed; " in str(caught.value)
    assert hashes(path) == before


@pytest.mark.gen_test
async def test_a_newer_schema_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    await make_file(make_database)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        add_newer_migration(connection)
    await refuse(make_database, path, "newer version .*m9999_later")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.gen_test
async def test_a_newer_schema_still_in_the_log_is_refused(
    make_database: Callable[..., Database], path: Path, tmp_path: Path
) -> None:
    await make_file(make_database)
    crashed = tmp_path / "crashed"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        add_newer_migration(connection)
        shutil.copytree(path.parent, crashed)
    (crashed / f"{path.name}-shm").unlink()
    shutil.rmtree(path.parent)
    shutil.copytree(crashed, path.parent)
    assert Path(f"{path}-wal").stat().st_size > 0
    await refuse(make_database, path, "newer version")


@pytest.mark.gen_test
async def test_a_damaged_page_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    await make_file(make_database)
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 4096)
    await refuse(make_database, path, "is damaged")


@pytest.mark.gen_test
async def test_a_damaged_schema_page_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    await make_file(make_database)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 1000)
    await refuse(make_database, path, "is damaged")


@pytest.mark.gen_test
async def test_a_file_cut_off_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    await make_file(make_database)
    os.truncate(path, path.stat().st_size // 2)
    await refuse(make_database, path, "is damaged")
    os.truncate(path, 50)
    await refuse(make_database, path, "cut off in its header")


@pytest.mark.gen_test
async def test_what_is_no_database_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    path.parent.mkdir()
    path.write_text("[server]\nport = 8765\n" * 50)
    await refuse(make_database, path, "is not a SQLite database")


@pytest.mark.gen_test
async def test_a_folder_is_refused(make_database: Callable[..., Database], path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(DatabaseUnusable, match="is a folder"):
        await make_database().open()
    assert list(path.iterdir()) == []


@pytest.mark.gen_test
async def test_another_programs_database_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    await refuse(make_database, path, "belongs to another program")


@pytest.mark.gen_test
async def test_an_empty_file_becomes_a_database(
    make_database: Callable[..., Database], path: Path
) -> None:
    path.parent.mkdir()
    path.touch()
    assert check_file(path) is False
    await make_file(make_database)
    assert check_file(path) is True


class DueAtOnce(threading.Timer):
    """A timer whose time is up with the very first step of the statement."""

    def start(self) -> None:
        assert self.interval == CHECK_LIMIT_S
        self._connection.set_progress_handler(lambda: True, 1)

    def join(self, timeout: float | None = None) -> None:
        assert self.finished.is_set()
        self._connection.set_progress_handler(None, 1)

    @property
    def _connection(self) -> sqlite3.Connection:
        interrupt: Any = self.function
        return cast(sqlite3.Connection, interrupt.__self__)


@pytest.mark.gen_test
async def test_looking_for_damage_ends_when_its_time_is_up(
    make_database: Callable[..., Database], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO webhook_outbox (posting_id, url, event, body, at)"
            " VALUES ('h', 'u', 'e', zeroblob(20000), 1)"
        )
    with path.open("r+b") as file:  # a page of the row's, so that the schema can still be read
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)
    with pytest.raises(DatabaseUnusable, match="is damaged"):
        check_file(path)
    monkeypatch.setattr("wsserver.storage.engine.check.threading.Timer", DueAtOnce)
    assert check_file(path) is True


@pytest.mark.gen_test
async def test_a_log_without_its_database_is_refused(
    make_database: Callable[..., Database], path: Path
) -> None:
    await make_file(make_database)
    path.unlink()
    path.with_name(path.name + "-wal").write_bytes(b"committed, and not in the file yet")
    await refuse(make_database, path, "is missing or empty, but has a -wal file")
    path.touch()
    await refuse(make_database, path, "is missing or empty, but has a -wal file")


def test_a_missing_file_is_no_fault(path: Path) -> None:
    assert check_file(path) is False
    assert not path.parent.exists()


def test_a_symbolic_link_leads_to_the_write_ahead_log_too(tmp_path: Path) -> None:
    path, link = tmp_path / "data" / "x.sqlite3", tmp_path / "y.sqlite3"
    path.parent.mkdir()
    link.symlink_to(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as server:
        server.execute("PRAGMA journal_mode = WAL")
        server.execute("CREATE TABLE kept (n INTEGER)")
        assert wal_of(link) == Path(f"{path}-wal")
        with closing(open_untouched(link)) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
