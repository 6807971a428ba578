"""Migration 49: changes of kept messages."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0049_revisions(db: sqlite_utils.Database) -> None:
    """Newest versions and change records of kept messages.

    ``revision``: how often ``payload`` was replaced; ``deleted_at``: since when it is the deleted
    form. ``subject``: of a change record, the key of the message that it is about.
    """
    db.execute("ALTER TABLE messages ADD COLUMN revision INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE messages ADD COLUMN deleted_at REAL")
    db.execute("ALTER TABLE messages ADD COLUMN subject INTEGER")
    db.execute("CREATE INDEX messages_by_subject ON messages (subject) WHERE subject IS NOT NULL")
