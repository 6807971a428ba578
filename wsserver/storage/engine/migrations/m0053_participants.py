"""Migration 53: read positions of users in sessions, and what unread messages are counted by."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0053_participants(db: sqlite_utils.Database) -> None:
    """The sessions of users, up to where they have read them, and counts of messages.

    ``participants.start_offset``: where the position began, of which nothing before was read.
    ``seen``: how many counted messages a user has behind them; the unread ones are
    ``streams.last_offset - streams.uncounted - seen``. What is not counted has an offset, but is no
    message for everybody: change records, other types, deleted messages, and those with an
    audience, which are counted one by one after a position below ``limited_offset``.
    ``message_offset``, ``message_at``: of the latest ``new_message``; 0: none.
    """
    for statement in (
        """
        CREATE TABLE participants (
            user_id TEXT NOT NULL,
            session_id TEXT NOT NULL,
            start_offset INTEGER NOT NULL,
            read_offset INTEGER NOT NULL,
            seen INTEGER NOT NULL,
            read_at REAL NOT NULL,
            is_member INTEGER NOT NULL DEFAULT 0 CHECK (is_member IN (0, 1)),
            has_joined INTEGER NOT NULL DEFAULT 0 CHECK (has_joined IN (0, 1)),
            has_written INTEGER NOT NULL DEFAULT 0 CHECK (has_written IN (0, 1)),
            PRIMARY KEY (user_id, session_id)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX participants_by_session ON participants (session_id)",
        "ALTER TABLE streams ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE streams ADD COLUMN limited_offset INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE streams ADD COLUMN message_offset INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE streams ADD COLUMN message_at REAL NOT NULL DEFAULT 0",
        "CREATE INDEX messages_uncounted ON messages (key)"
        " WHERE type <> 'new_message' OR deleted_at IS NOT NULL OR audience IS NOT NULL",
        """
        UPDATE streams SET message_offset = latest.key & 274877906943, message_at = latest.at
        FROM (
            SELECT key >> 38 AS stream_id, max(key) AS key, max(at) AS at FROM messages
            WHERE type = 'new_message' GROUP BY key >> 38
        ) AS latest
        WHERE streams.id = latest.stream_id
        """,
        """
        INSERT INTO participants
            (user_id, session_id, start_offset, read_offset, seen, read_at, is_member)
        SELECT m.user_id, m.session_id, coalesce(s.last_offset, 0), coalesce(s.last_offset, 0),
            coalesce(s.last_offset, 0), m.added_at, 1
        FROM session_members m LEFT JOIN streams s ON s.name = 'session:' || m.session_id
        """,
        """
        INSERT INTO participants
            (user_id, session_id, start_offset, read_offset, seen, read_at, has_written)
        SELECT w.sender, substr(s.name, 9), s.last_offset, s.last_offset, s.last_offset, w.at, 1
        FROM (
            SELECT key >> 38 AS stream_id, sender, max(at) AS at FROM messages
            WHERE type = 'new_message' AND sender IS NOT NULL GROUP BY key >> 38, sender
        ) AS w
        JOIN streams s ON s.id = w.stream_id WHERE substr(s.name, 1, 8) = 'session:'
        ON CONFLICT (user_id, session_id) DO UPDATE SET has_written = 1
        """,
    ):
        db.execute(statement)
