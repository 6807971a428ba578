"""A real database: a SQLite file in a temporary folder, or one of a private PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from scripts.backends.postgres import PostgresServer
from tests.support import migrated_file
from wsserver.clock import Clock
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.postgres.database import PostgresDatabase
from wsserver.storage.engine.sqlite import SqliteDatabase

MakeDatabase = Callable[..., Any]
Engine = Callable[..., Database]
"""Makes a database that is not open yet; each of a test is the same one, as after a restart."""

SQLITE_ONLY = {
    "test_backup",
    "test_check",
    "test_database",
    "test_database_report",
    "test_epochs",
    "test_file_identity",
    "test_lock",
    "test_migrations",
    "test_notification_plans",
    "test_page_bytes",
    "test_pruning",
    "test_readers",
    "test_stream_plans",
    "test_wal",
}
"""Modules about the SQLite file; all others are about behaviour and run on both."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is about behaviour on PostgreSQL too, in the slow part of the tests."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if "engine" in metafunc.fixturenames and module not in SQLITE_ONLY:
        is_about_sqlite = metafunc.definition.get_closest_marker("sqlite_only")
        engines = ["sqlite"] if is_about_sqlite else ["sqlite", "postgresql"]
        metafunc.parametrize(
            "engine",
            [
                pytest.param(name, marks=[pytest.mark.slow] if name == "postgresql" else [])
                for name in engines
            ],
            indirect=True,
        )


@pytest.fixture(autouse=True)
def empty_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file is what is tested it begins empty, as a server's."""
    if request.module.__name__.rpartition(".")[2] in SQLITE_ONLY | {"test_identity"}:
        migrated_file.use(migrated_file.CREATE_EMPTY, monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "wsserver.sqlite3"


@pytest.fixture
def engine(request: pytest.FixtureRequest, path: Path, clock: Clock) -> Iterator[Engine]:
    """The kind of database that the test is run on."""
    if getattr(request, "param", "sqlite") == "sqlite":

        def make_file(**options: Any) -> Database:
            options.setdefault("busy_timeout_s", 0)
            return SqliteDatabase(path, clock=clock, **options)

        yield make_file
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.lend_database()
    yield lambda **options: PostgresDatabase(url, clock=clock, **options)
    server.give_back(url)


@pytest.fixture
def make_database(io_loop: IOLoop, engine: Engine) -> Iterator[MakeDatabase]:
    """Databases of one place, not opened yet; closed at the end."""
    made: list[Database] = []

    def make(**options: Any) -> Database:
        made.append(engine(**options))
        return made[-1]

    yield make
    for database in made:
        io_loop.run_sync(database.close)


@pytest.fixture
def database(io_loop: IOLoop, make_database: MakeDatabase) -> Database:
    """An open, empty database."""
    database: Database = make_database()
    io_loop.run_sync(database.open)
    return database
