"""New SQLite files that have their tables already: copies of one that was migrated.

To apply all migrations to an empty file takes most of the time that a server takes to start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from wsserver.clock import Clock
from wsserver.storage.engine import writer
from wsserver.storage.engine.identity import new_identity
from wsserver.storage.engine.sqlite import SqliteDatabase

Create = Callable[[Path], None]

CREATE_EMPTY: Create = writer._create
"""What a server does: the migrations are applied to the file when it is opened."""


def copies_of_migrated(folder: Path) -> Create:
    """Creates files of this version without rows, each with an identity of its own."""
    original = SqliteDatabase(folder / "migrated.sqlite3", clock=Clock())

    async def migrate() -> None:
        await original.open()
        await original.close()

    asyncio.run(migrate())
    content = original.path.read_bytes()
    identity = original.identity.partition("/")[0].encode()
    assert identity in content

    def create(path: Path) -> None:
        CREATE_EMPTY(path)
        path.write_bytes(content.replace(identity, new_identity().encode()))

    return create


def use(create: Create, patch: pytest.MonkeyPatch) -> None:
    """Let the databases of this process create their files so."""
    patch.setattr(writer, "_create", create)
