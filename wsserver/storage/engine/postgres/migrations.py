"""Migrations of the PostgreSQL schema.

A released migration is never edited; a new one goes to the end of ``MIGRATIONS``. All texts have
the collation "C", so that they are ordered as in SQLite: by their bytes.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import psycopg

from wsserver.storage.engine.epochs import EXPORT_EPOCH_KEY, new_epoch
from wsserver.storage.engine.postgres.connecting import Server
from wsserver.storage.engine.postgres.connection import PostgresConnection
from wsserver.storage.engine.postgres.errors import one_line
from wsserver.storage.engine.postgres.schema_1 import SCHEMA_1

TABLE = "wsserver_migrations"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('wsserver migrations'), hashtext(current_schema()))"


class Migration(NamedTuple):
    """A step of the schema: statements without parameters."""

    name: str
    statements: str


ACCESS_CHANGES = """
CREATE TABLE access_changes (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX access_changes_by_number ON access_changes (number);
"""

MIGRATIONS = (
    Migration("p0001_schema", SCHEMA_1),
    Migration("p0042_access_changes", ACCESS_CHANGES),
)


class Schema(NamedTuple):
    """The migrations applied to a database, compared with those of this version."""

    applied: list[str]
    missing: list[str]
    unknown: list[str]
    """Applied by a newer version."""
    is_foreign: bool
    """There are tables, but no migration was applied: another program's schema."""


def read_schema(db: PostgresConnection) -> Schema:
    """Compare the migrations applied to a database with those of this version."""
    tables = {
        name
        for (name,) in db.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm')"
            # Of extensions, such as pg_stat_statements.
            " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
        )
    }
    applied = []
    if TABLE in tables:
        applied = [name for (name,) in db.execute(f"SELECT name FROM {TABLE} ORDER BY name")]  # noqa: S608 - a constant
    known = [migration.name for migration in MIGRATIONS]
    return Schema(
        applied=applied,
        missing=[name for name in known if name not in applied],
        unknown=[name for name in applied if name not in known],
        is_foreign=not applied and bool(tables - {TABLE}),
    )


def check_schema(server: Server, schema: Schema) -> None:
    """Raise ``DatabaseUnusable`` for a schema that this version cannot use."""
    if schema.is_foreign:
        raise server.unusable(
            "its schema has tables of another program",
            "nothing was changed; name an empty database, or a schema of its own (search_path)",
        )
    if schema.unknown:
        raise server.unusable(
            f"was written by a newer version (unknown migrations: {', '.join(schema.unknown)})",
            "nothing was changed; run that version, or restore a backup made with this one",
        )


def migrate(server: Server, db: PostgresConnection) -> None:
    """Apply the missing migrations in one transaction; other processes wait for it meanwhile.

    Raises ``DatabaseUnusable`` for a schema that cannot be used or rights that are missing.
    """
    try:
        with db.raw.transaction():
            db.execute(_LOCK)
            schema = read_schema(db)
            check_schema(server, schema)
            if schema.missing:
                _apply(db, schema.missing)
    except psycopg.errors.InsufficientPrivilege as error:
        raise server.unusable(
            f"the user lacks rights ({one_line(error)})",
            "nothing was changed; make the user the owner of the schema and of its tables",
        ) from None


def _apply(db: PostgresConnection, names: list[str]) -> None:
    db.raw.execute(
        f"CREATE TABLE IF NOT EXISTS {TABLE}"
        ' (name TEXT COLLATE "C" PRIMARY KEY, applied_at DOUBLE PRECISION NOT NULL)'
    )
    for name, statements in MIGRATIONS:
        if name in names:
            text = re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', statements)
            db.raw.execute(text)
            db.execute(f"INSERT INTO {TABLE} VALUES (?, ?)", [name, time.time()])  # noqa: S608
            if name == "p0001_schema":
                for key in ("epoch", EXPORT_EPOCH_KEY):
                    db.execute("INSERT INTO meta (key, value) VALUES (?, ?)", [key, new_epoch()])
