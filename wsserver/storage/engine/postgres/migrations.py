"""Migrations of the PostgreSQL schema.

A released migration is never edited; a new one goes to the end of ``MIGRATIONS``. All texts have
the collation "C", so that they are ordered as in SQLite: by their bytes.

A migration only adds (tables, columns with a default, indexes): in a rolling upgrade servers of the
version before go on working with the new schema until they are restarted. Its start refuses them.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import psycopg

from wsserver.storage.engine.epochs import EXPORT_EPOCH_KEY, new_epoch
from wsserver.storage.engine.postgres.connecting import Server
from wsserver.storage.engine.postgres.connection import PostgresConnection
from wsserver.storage.engine.postgres.errors import is_conflict, one_line
from wsserver.storage.engine.postgres.schema_1 import SCHEMA_1

TABLE = "wsserver_migrations"
_WAIT = "10min"
_ATTEMPTS = 3
TURN = "SELECT pg_advisory_xact_lock(hashtext('wsserver writing'), hashtext(current_schema()))"
"""Held by each writing transaction of several servers until it has ended: they take turns."""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('wsserver migrations'), hashtext(current_schema()))"


class Migration(NamedTuple):
    """A step of the schema: statements without parameters."""

    name: str
    statements: str


_IDENTITY = """
INSERT INTO meta (key, value)
VALUES ('identity', 'database_' || replace(gen_random_uuid()::text, '-', ''))
ON CONFLICT (key) DO NOTHING;
ALTER TABLE writers ADD COLUMN is_shared SMALLINT NOT NULL DEFAULT 0;
"""
_ACCESS_CHANGES = """
CREATE TABLE access_changes (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX access_changes_by_number ON access_changes (number);
"""
_LEASES = """
CREATE TABLE processes (id TEXT PRIMARY KEY, beat BIGINT NOT NULL) WITH (fillfactor = 70);
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence BIGINT NOT NULL);
"""
_CONSOLE_SESSIONS = """
CREATE TABLE console_sessions (
    digest TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    claims TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    ends_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX console_sessions_by_user ON console_sessions (user_id, created_at);
CREATE INDEX console_sessions_by_end ON console_sessions (ends_at);
"""
_REVISIONS = """
ALTER TABLE messages ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN deleted_at DOUBLE PRECISION;
ALTER TABLE messages ADD COLUMN subject BIGINT;
CREATE INDEX messages_by_subject ON messages (subject) WHERE subject IS NOT NULL;
"""
MIGRATIONS = (
    Migration("p0001_schema", SCHEMA_1),
    Migration("p0041_identity_and_shared_writers", _IDENTITY),
    Migration("p0042_access_changes", _ACCESS_CHANGES),
    Migration("p0043_leases", _LEASES),
    Migration("p0049_revisions", _REVISIONS),
    Migration("p0054_console_sessions", _CONSOLE_SESSIONS),
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
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _migrate(server, db)
        except psycopg.Error as error:
            # Against a reader of a server that is running.
            if is_conflict(error) and attempt < _ATTEMPTS and not db.is_lost:
                continue
            raise
        else:
            return


def _migrate(server: Server, db: PostgresConnection) -> None:
    try:
        with db.raw.transaction():
            # Another server may be migrating many rows.
            db.run_script(f"SET LOCAL lock_timeout = '{_WAIT}'; SET LOCAL statement_timeout = 0")
            db.execute(_LOCK)
            schema = read_schema(db)
            check_schema(server, schema)
            if schema.missing:
                # Servers that are running are between two transactions then: no deadlock with them.
                db.execute(TURN)
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
