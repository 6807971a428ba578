"""Migrations of conversations: the state of sessions, and the log of its changes."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0048_conversations(db: sqlite_utils.Database) -> None:
    """State, holder and metadata of sessions, and what has changed of them.

    ``holder_type`` NULL: nobody holds the session; ``last_ai``: the AI that held it last.
    ``conversation_changes.value`` is JSON, as it was after the change. Sessions with messages or
    members exist from the beginning.
    """
    for statement in (
        """
        CREATE TABLE conversations (
            session_id TEXT PRIMARY KEY,
            title TEXT,
            state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'pending', 'closed')),
            holder_type TEXT CHECK (holder_type IN ('user', 'ai')),
            holder_id TEXT,
            term INTEGER NOT NULL DEFAULT 0,
            last_ai TEXT,
            organization_id TEXT,
            metadata TEXT NOT NULL DEFAULT '{}',
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE conversation_changes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session_id TEXT NOT NULL,
            at REAL NOT NULL,
            changed_by TEXT NOT NULL,
            field TEXT NOT NULL,
            value TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX conversation_changes_by_session ON conversation_changes (session_id, id)",
        "CREATE INDEX conversation_changes_by_time ON conversation_changes (at)",
        """
        INSERT INTO conversations (session_id, created_at, updated_at)
        SELECT substr(s.name, 9), coalesce(min(m.at), s.touched_at),
            coalesce(min(m.at), s.touched_at)
        FROM streams s
        LEFT JOIN messages m ON m.key > s.id << 38 AND m.key <= (s.id << 38 | 274877906943)
        WHERE substr(s.name, 1, 8) = 'session:'
        GROUP BY s.id
        """,
        """
        INSERT INTO conversations (session_id, created_at, updated_at)
        SELECT session_id, min(added_at), min(added_at) FROM session_members WHERE true
        GROUP BY session_id
        ON CONFLICT (session_id) DO NOTHING
        """,
    ):
        db.execute(statement)
