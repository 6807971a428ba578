"""Tables of extensions: made once, in order, on both kinds of databases."""

from __future__ import annotations

import asyncio

import pytest

from tests.storage.conftest import MakeDatabase
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import (
    ExtensionSchema,
    Migration,
    UnknownSteps,
    applied_steps,
    apply_steps,
)

NOW = 1_700_000_000.0
FIRST = Migration(
    "0001_things",
    (
        "CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
        " at REAL, count INTEGER NOT NULL DEFAULT 0, body BLOB)",
        "CREATE INDEX things_by_name ON things (name)",
    ),
)
SECOND = Migration("0002_more", ("ALTER TABLE things ADD COLUMN more TEXT",))
THINGS = ExtensionSchema("things", (FIRST,))
NEWER = ExtensionSchema("things", (FIRST, SECOND))


async def make(database: Database, *schemas: ExtensionSchema) -> dict[str, list[str]]:
    return await database.run(lambda db: apply_steps(db, database.KIND, schemas, NOW))


def fill(db: Connection) -> list[tuple[object, ...]]:
    db.insert("things", "name, at, count, body", [("b", 1.5, 2**40, b"\0"), ("B", 2.5, 1, None)])
    rows = db.execute("SELECT id, name, at, count, body FROM things ORDER BY name").fetchall()
    return [tuple(row) for row in rows]


@pytest.mark.gen_test
async def test_steps_are_made_once_and_types_are_those_of_the_database(database: Database) -> None:
    assert await make(database, THINGS) == {"things": ["0001_things"]}
    assert await make(database, THINGS) == {}
    assert await database.run(fill) == [(2, "B", 2.5, 1, None), (1, "b", 1.5, 2**40, b"\0")]
    assert await make(database, NEWER) == {"things": ["0002_more"]}
    assert await database.read(applied_steps) == {"things": ["0001_things", "0002_more"]}
    names = await database.read(lambda db: db.execute("SELECT name FROM things").fetchall())
    assert len(names) == 2


@pytest.mark.gen_test
async def test_several_starts_at_once_make_each_step_once(database: Database) -> None:
    made = await asyncio.gather(*[make(database, NEWER) for _ in range(4)])
    assert sorted(made, key=len) == [{}, {}, {}, {"things": ["0001_things", "0002_more"]}]


@pytest.mark.gen_test
async def test_steps_of_a_newer_version_are_refused_and_those_of_others_ignored(
    database: Database,
) -> None:
    await make(database, NEWER)
    other = ExtensionSchema("other", (Migration("1", ("CREATE TABLE other (x TEXT)",)),))
    with pytest.raises(UnknownSteps, match="newer version of the extension things"):
        await make(database, other, THINGS)
    assert await make(database, other) == {"other": ["1"]}


@pytest.mark.gen_test
async def test_a_step_that_fails_leaves_nothing(
    make_database: MakeDatabase,
) -> None:
    database = make_database()
    await database.open()
    bad = ExtensionSchema(
        "things", (FIRST, Migration("0002_bad", ("CREATE TABLE more (x TEXT)", "CREATE NONSENSE")))
    )
    with pytest.raises(Exception, match=r"(?i)syntax"):
        await make(database, bad)
    assert await make(database, THINGS) == {"things": ["0001_things"]}


@pytest.mark.gen_test
async def test_statements_of_its_own_for_postgresql(database: Database) -> None:
    step = Migration(
        "1",
        ("CREATE TABLE own (x TEXT, kind TEXT DEFAULT 'sqlite')",),
        postgresql=("CREATE TABLE own (x TEXT, kind TEXT DEFAULT 'postgresql')",),
    )
    await make(database, ExtensionSchema("own", (step,)))
    kind = await database.run(
        lambda db: db.execute("INSERT INTO own (x) VALUES ('x') RETURNING kind").fetchall()[0][0]
    )
    assert kind == database.KIND
