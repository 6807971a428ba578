"""Migration 60: which steps of their schemas the extensions have made."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS

__all__ = ["MIGRATIONS"]


@MIGRATIONS()
def m0060_extension_migrations(db: sqlite_utils.Database) -> None:
    """The steps of the schemas of extensions, see ``engine.extension_schema``."""
    db.execute("""
        CREATE TABLE extension_migrations (
            extension TEXT NOT NULL,
            name TEXT NOT NULL,
            applied_at REAL NOT NULL,
            PRIMARY KEY (extension, name)
        ) STRICT, WITHOUT ROWID
    """)
