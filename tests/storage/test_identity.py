"""The identity of a database: equal for those who use it, different for a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.backends.postgres import PostgresServer
from tests.support.fake_clock import FakeClock
from wsserver.storage.engine import identity
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase


async def identity_after_open(database: Database) -> str:
    await database.open()
    await database.close()
    return database.identity


@pytest.mark.gen_test
async def test_a_file_keeps_its_identity_and_a_copy_is_at_another_place(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copied, other = (tmp_path / name for name in ("a.sqlite3", "b.sqlite3", "c.sqlite3"))
    first = await identity_after_open(SqliteDatabase(path, clock=clock))
    assert first.startswith("database_")
    assert await identity_after_open(SqliteDatabase(path, clock=clock)) == first
    (tmp_path / "link").symlink_to(path)
    assert await identity_after_open(SqliteDatabase(tmp_path / "link", clock=clock)) == first
    shutil.copy(path, copied)
    copy = await identity_after_open(SqliteDatabase(copied, clock=clock))
    assert copy != first
    assert copy.partition("/")[0] == first.partition("/")[0]
    new = await identity_after_open(SqliteDatabase(other, clock=clock))
    assert new.partition("/")[0] != first.partition("/")[0]
    # Of the same device and inode, by chance, on another machine.
    monkeypatch.setattr(identity, "machine_id", lambda: "another")
    assert await identity_after_open(SqliteDatabase(path, clock=clock)) != first


def test_a_machine_without_an_id_has_that_of_its_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, boot = tmp_path / "machine-id", tmp_path / "boot_id"
    empty.write_text("\n")
    boot.write_text("of-this-boot\n")
    monkeypatch.setattr(identity, "_MACHINE_FILES", (empty, boot))
    assert identity.machine_id() == "of-this-boot"
    boot.unlink()
    assert identity.machine_id()


@pytest.mark.slow
@pytest.mark.gen_test
async def test_a_database_of_postgresql_and_a_copy_of_it(
    postgres: PostgresServer, clock: FakeClock
) -> None:
    url = postgres.create_database(is_empty=True)
    first = await identity_after_open(PostgresDatabase(url, clock=clock))
    by_name = url.replace("127.0.0.1", "localhost")
    assert await identity_after_open(PostgresDatabase(by_name, clock=clock)) == first
    name = url.rpartition("/")[2]
    postgres.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    copy = await identity_after_open(PostgresDatabase(f"{url}_copy", clock=clock))
    assert copy != first
    assert copy.partition("/")[0] == first.partition("/")[0]
    postgres.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    postgres.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", name)
    postgres.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO poor", name)
    postgres.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO poor", name)
    poor = postgres.url(name, user="poor", password="poor")
    assert (await identity_after_open(PostgresDatabase(poor, clock=clock))).startswith("database_")
    postgres.drop_database(f"{url}_copy")
    postgres.drop_database(url)
    postgres.execute("DROP ROLE poor")
