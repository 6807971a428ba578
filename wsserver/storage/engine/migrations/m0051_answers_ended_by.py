"""Migration 51, second part: who ended an answer."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0051_answers_ended_by(db: sqlite_utils.Database) -> None:
    """``ended_by``: the user id of who finished or cancelled an answer; NULL: the server."""
    db.execute("ALTER TABLE answers ADD COLUMN ended_by TEXT")
