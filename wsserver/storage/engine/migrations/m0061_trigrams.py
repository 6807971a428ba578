"""Migration 61: the search index with a tokenizer of SQLite's own."""

from __future__ import annotations

import sqlite_utils

from wsserver.storage.engine.migrations.m0020_and_later import MIGRATIONS

__all__ = ["MIGRATIONS"]


@MIGRATIONS()
def m0061_trigrams(db: sqlite_utils.Database) -> None:
    """The new index, empty; the server fills it again from the messages. The former one goes.

    A text is in two columns: as it is searched, and the stream that it belongs to.
    """
    for statement in (
        """
        CREATE VIRTUAL TABLE search_trigrams USING fts5(
            text, stream, content='', detail=none, columnsize=0,
            tokenize='trigram case_sensitive 1'
        )
        """,
        "DROP TABLE search_grams",
        "DELETE FROM search_docs",
        "DELETE FROM meta WHERE key = 'search_version'",
    ):
        db.execute(statement)
