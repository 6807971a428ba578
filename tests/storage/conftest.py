"""A real database in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from wsserver.clock import Clock
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sqlite import SqliteDatabase

MakeDatabase = Callable[..., Database]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "wsserver.sqlite3"


@pytest.fixture
def make_database(io_loop: IOLoop, path: Path, clock: Clock) -> Iterator[MakeDatabase]:
    """Databases on ``path``, not opened yet; closed at the end."""
    made: list[Database] = []

    def make(**options: Any) -> Database:
        options.setdefault("busy_timeout_s", 0)
        made.append(SqliteDatabase(path, clock=clock, **options))
        return made[-1]

    yield make
    for database in made:
        io_loop.run_sync(database.close)


@pytest.fixture
def database(io_loop: IOLoop, make_database: MakeDatabase) -> Database:
    """An open, empty database."""
    database = make_database()
    io_loop.run_sync(database.open)
    return database
