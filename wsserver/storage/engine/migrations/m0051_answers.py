"""Migration 51: answers that grow."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0051_answers(db: sqlite_utils.Database) -> None:
    """Answers and the parts of their text that were appended.

    ``owner``: the id of the process that has the answer while it grows, empty if it was given back;
    ``generation`` counts the owners. ``answer_texts`` is UTF-8, as texts may have NUL characters.
    """
    for statement in (
        """
        CREATE TABLE answers (
            message_id TEXT PRIMARY KEY,
            session_id TEXT NOT NULL,
            state TEXT NOT NULL DEFAULT 'growing',
            reason TEXT,
            term INTEGER NOT NULL,
            owner TEXT NOT NULL,
            node TEXT NOT NULL,
            generation INTEGER NOT NULL DEFAULT 1,
            seq INTEGER NOT NULL DEFAULT 0,
            length INTEGER NOT NULL,
            last_digest TEXT,
            started_at REAL NOT NULL,
            first_text_at REAL,
            last_text_at REAL,
            ended_at REAL,
            stalls TEXT NOT NULL DEFAULT '[]',
            watchers TEXT NOT NULL DEFAULT '[]',
            token_usage TEXT,
            closing_offset INTEGER,
            closing_digest TEXT,
            closing_length INTEGER
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX answers_growing ON answers (session_id) WHERE state = 'growing'",
        """
        CREATE TABLE answer_texts (
            message_id TEXT NOT NULL,
            seq INTEGER NOT NULL,
            text BLOB NOT NULL,
            PRIMARY KEY (message_id, seq)
        ) STRICT, WITHOUT ROWID
        """,
    ):
        db.execute(statement)
