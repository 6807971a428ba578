"""Migration 50: the search in messages of sessions."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS


@MIGRATIONS()
def m0050_search(db: sqlite_utils.Database) -> None:
    """The queue of messages to be indexed, the indexed ones, and the index.

    ``search_queue.id`` is the message's id in ``search_docs`` and in the index from then on
    (AUTOINCREMENT: none is used twice). What is stored already is enqueued by the server.
    """
    for statement in (
        """
        CREATE TABLE search_queue (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            key INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE search_docs (
            id INTEGER PRIMARY KEY,
            key INTEGER NOT NULL UNIQUE,
            is_indexed INTEGER NOT NULL CHECK (is_indexed IN (0, 1))
        ) STRICT
        """,
        """
        CREATE VIRTUAL TABLE search_grams
        USING fts5(grams, content='', detail=none, columnsize=0, tokenize='ascii')
        """,
    ):
        db.execute(statement)
