from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.database_files import add_newer_migration, hashes, make_file
from tests.support.fake_clock import FakeClock
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance import database_report
from wsserver.storage.maintenance.database_report import DatabaseReport, inspect_database
from wsserver.storage.tables.access_lists import MemberStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog

MakeDatabase = Callable[..., Database]


async def fill(database: Database) -> None:
    audit = AuditLog(database)
    for at in (1000.0, 3000.0):
        audit.record(AuditEntry(at=at, actor="u1", role="admin", action="x"))
    audit.flush()
    await MemberStore(database).replace("s1", ["a", "b", "c"], "admin", 2000.0)


async def make_filled(make_database: MakeDatabase) -> None:
    database = make_database()
    await database.open()
    await fill(database)
    await database.close()


def edited(path: Path) -> closing[sqlite3.Connection]:
    """A connection to a file that no server uses; each statement is committed."""
    return closing(sqlite3.connect(path, isolation_level=None))


def look(path: Path, **options: bool) -> DatabaseReport:
    """Inspect; nothing may change by it."""
    before = hashes(path) if path.parent.exists() else {}
    found = inspect_database(path, FakeClock(), **options)
    assert (hashes(path) if path.parent.exists() else {}) == before
    return found


@pytest.mark.gen_test
@pytest.mark.parametrize("quick", [False, True])
async def test_a_database_in_use_is_described(
    database: Database, path: Path, clock: FakeClock, quick: bool
) -> None:
    await fill(database)
    found = look(path, quick=quick)
    assert (found.ok, found.problems, found.remedy) == (True, [], None)
    assert found.check == ("quick" if quick else "full")
    assert found.schema == "current"
    assert found.schema_missing == []
    assert found.file_bytes == path.stat().st_size
    assert found.wal_bytes == Path(f"{path}-wal").stat().st_size > 0
    assert found.disk_free_bytes is not None
    assert (found.oldest, found.newest) == (1000.0, 3000.0)
    assert found.checked_at == clock.wall()
    tables = {table.name: table for table in found.tables}
    assert (tables["audit"].rows, tables["session_members"].rows) == (2, 3)
    assert (tables["audit"].oldest, tables["audit"].newest) == (1000.0, 3000.0)
    assert tables["session_members"].newest == 2000.0
    assert (tables["snapshots"].rows, tables["snapshots"].oldest) == (0, None)
    assert not any(name.startswith(("sqlite_", "_")) for name in tables)
    # The database can be written to afterwards.
    await MemberStore(database).replace("s1", [], "admin", 2000.0)


@pytest.mark.gen_test
async def test_the_sizes_of_the_tables_make_up_the_file(
    make_database: MakeDatabase, path: Path
) -> None:
    await make_filled(make_database)
    found = look(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    sizes = [table.bytes for table in found.tables]
    if None in sizes:
        pytest.skip("this SQLite has no dbstat")
    assert 0.5 * found.file_bytes < sum(size or 0 for size in sizes) <= found.file_bytes


@pytest.mark.gen_test
async def test_without_dbstat_the_sizes_are_not_known(
    make_database: MakeDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)

    class Lacking(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            return super().execute(sql.replace("dbstat", "no_such_dbstat"), *args)  # type: ignore[arg-type]

    monkeypatch.setattr(
        database_report, "open_untouched", lambda path: sqlite3.connect(path, factory=Lacking)
    )
    assert {table.bytes for table in look(path).tables} == {None}


@pytest.mark.gen_test
async def test_damage_is_listed(make_database: MakeDatabase, path: Path) -> None:
    await make_file(make_database)
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 4096)
    found = look(path)
    assert not found.ok
    assert all(problem.startswith("is damaged") for problem in found.problems)
    assert found.remedy is not None
    assert "restore the file from a backup" in found.remedy
    assert found.tables == []


@pytest.mark.gen_test
async def test_only_the_full_check_compares_an_index_with_its_table(
    make_database: MakeDatabase, path: Path
) -> None:
    await make_filled(make_database)
    with edited(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        index = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'audit_by_time'")
        row = index.fetchone()
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'audit_by_time'")
    with edited(path) as connection:
        connection.execute("DELETE FROM audit WHERE at = 1000.0")  # the index has it still
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)
    assert look(path, quick=True).ok
    assert "audit_by_time" in look(path).problems[0]


@pytest.mark.gen_test
async def test_an_older_schema_is_no_problem_and_a_newer_one_is(
    make_database: MakeDatabase, path: Path
) -> None:
    await make_file(make_database)
    with edited(path) as connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'm0006%'")
    older = look(path)
    assert (older.ok, older.schema) == (True, "older")
    assert older.schema_missing == ["m0006_audit_by_outcome"]
    assert "the next start of a server brings it up" in older.warnings[0]
    with edited(path) as connection:
        add_newer_migration(connection)
    newer = look(path)
    assert (newer.ok, newer.schema) == (False, "newer")
    assert "m9999_later" in newer.problems[0]


def test_what_is_no_database_of_ours_is_said(path: Path) -> None:
    assert look(path).problems == ["there is no database"]
    path.parent.mkdir()
    path.touch()
    assert look(path).problems == ["is empty"]
    path.write_text("nothing of the kind" * 10)
    assert look(path).problems == ["is not a SQLite database"]
    path.unlink()
    with edited(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert look(path).problems == ["belongs to another program"]


@pytest.mark.gen_test
async def test_a_row_without_its_parent_is_a_problem(
    make_database: MakeDatabase, path: Path
) -> None:
    await make_file(make_database)
    with edited(path) as connection:
        connection.execute("CREATE TABLE child (of INTEGER REFERENCES audit (id))")
        connection.execute("INSERT INTO child VALUES (7)")
    assert look(path).problems == ["is damaged: row 1 of child refers to no row of audit"]


@pytest.mark.gen_test
async def test_a_server_that_starts_meanwhile_is_no_damage(
    make_database: MakeDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_file(make_database)
    torn = iter([["page 3 is torn"]])
    damage = database_report._damage

    def seen(connection: sqlite3.Connection, check: str) -> list[str]:
        for first in torn:
            Path(f"{path}-wal").touch()
            return first
        return damage(connection, "full")

    monkeypatch.setattr(database_report, "_damage", seen)
    assert inspect_database(path, FakeClock()).ok


@pytest.mark.slow
@pytest.mark.gen_test
async def test_a_file_that_even_readers_are_kept_from_is_unavailable(
    make_database: MakeDatabase, path: Path
) -> None:
    await make_file(make_database)
    with edited(path) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE x (y)")
        with pytest.raises(StorageUnavailable, match="locked"):
            inspect_database(path, FakeClock())


@pytest.mark.gen_test
async def test_a_full_disk_and_a_large_log_are_warned_of(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database)
    monkeypatch.setattr(database_report, "free_bytes", lambda folder: 1000)
    monkeypatch.setattr(database_report, "LARGE_WAL_BYTES", 10)
    full, large = look(path).warnings
    assert "nearly full" in full
    assert "-wal" in large
