"""SQLite's ``GramIndex``: an FTS5 table that holds no text, only which document has which gram.

``detail=none`` keeps no positions: queries find documents that have all grams, and the caller
compares the text itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from wsserver.storage.engine.connection import Connection, Indexed

TABLE = "search_grams"
_COMPACT_PAGES = 200
"""Pages that one part of ``compact`` merges."""
_GROUP = "\uf8ff"
"""Begins the token of a group; a private character, as the text's own ones are not left."""
_AS_LETTER = {code: 0xE000 + code for code in range(128) if not chr(code).isalnum()}
"""Signs as private characters, which the tokenizer ``ascii`` takes for letters."""
_REMOVES_AT_ONCE = sqlite3.sqlite_version_info >= (3, 42)
"""Whether FTS5 can take entries out, rather than note that they do not count any more."""


class FtsIndex:
    """The table ``search_grams``."""

    tables = (TABLE, *(f"{TABLE}_{part}" for part in ("data", "idx", "config", "content")))

    def add(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Index documents, whose numbers are not in the index."""
        db.executemany(
            f"INSERT INTO {TABLE} (rowid, grams) VALUES (?, ?)",  # noqa: S608 - a constant
            [(each.id, _tokens(each)) for each in documents],
        )

    def remove(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Remove documents, with exactly what they were indexed with."""
        if _REMOVES_AT_ONCE:
            db.execute(
                f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('secure-delete', 1)"  # noqa: S608
            )
        db.executemany(
            f"INSERT INTO {TABLE} ({TABLE}, rowid, grams) VALUES ('delete', ?, ?)",  # noqa: S608
            [(each.id, _tokens(each)) for each in documents],
        )

    def find(
        self,
        db: Connection,
        grams: Sequence[str],
        groups: Sequence[int] | None,
        before: int,
        limit: int,
    ) -> Iterable[int]:
        """The highest numbers below ``before`` that have all of the grams, descending."""
        terms = [_quoted(gram.translate(_AS_LETTER)) for gram in grams]
        if groups is not None:
            terms.append(f"({' OR '.join(_quoted(_token_of(group)) for group in groups)})")
        rows = db.execute(
            f"SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ? AND rowid < ?"  # noqa: S608
            " ORDER BY rowid DESC LIMIT ?",
            [" AND ".join(terms), before, limit],
        )
        return (id_ for (id_,) in rows)

    def compact(self, db: Connection, is_first: bool) -> bool:
        """Merge all parts of the index into one, step by step: deleted entries are left out."""
        if _REMOVES_AT_ONCE:
            return False
        (before,) = db.execute("SELECT total_changes()").fetchone()
        pages = -_COMPACT_PAGES if is_first else _COMPACT_PAGES
        db.execute(
            f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('merge', ?)",  # noqa: S608
            [pages],
        )
        (after,) = db.execute("SELECT total_changes()").fetchone()
        return bool(after - before > 1)  # of nothing to merge, the statement itself counts

    def clear(self, db: Connection, reserved: int) -> None:
        """Remove everything, the rows of ``search_docs`` too."""
        db.execute(f"INSERT INTO {TABLE} ({TABLE}) VALUES ('delete-all')")  # noqa: S608
        db.execute("DELETE FROM search_docs")
        db.execute(
            "DELETE FROM sqlite_sequence WHERE name = 'search_queue' AND seq < ?", [reserved]
        )
        db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'search_queue', ? WHERE NOT EXISTS"
            " (SELECT 1 FROM sqlite_sequence WHERE name = 'search_queue')",
            [reserved],
        )


def _tokens(document: Indexed) -> str:
    tokens = sorted({gram.translate(_AS_LETTER) for gram in document.grams})
    return " ".join([*tokens, _token_of(document.group)])


def _token_of(group: int) -> str:
    return f"{_GROUP}{group}"


def _quoted(token: str) -> str:
    return f'"{token}"'
