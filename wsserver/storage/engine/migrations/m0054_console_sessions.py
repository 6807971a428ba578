"""Migration 54: sign-ins of the console."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS

__all__ = ["MIGRATIONS"]


@MIGRATIONS()
def m0054_console_sessions(db: sqlite_utils.Database) -> None:
    """Sign-ins of the console, by the SHA-256 digest of the cookie; ``claims`` are JSON."""
    db.execute("""
        CREATE TABLE console_sessions (
            digest TEXT PRIMARY KEY,
            user_id TEXT NOT NULL,
            claims TEXT NOT NULL,
            created_at REAL NOT NULL,
            ends_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("CREATE INDEX console_sessions_by_user ON console_sessions (user_id, created_at)")
    db.execute("CREATE INDEX console_sessions_by_end ON console_sessions (ends_at)")
