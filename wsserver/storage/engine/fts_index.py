"""SQLite's ``GramIndex``: an FTS5 table that holds no text, only which document has which gram.

Its tokenizer makes the grams, in a tenth of the time that Python would need. ``detail=none`` keeps
no positions: queries find documents that have all grams, and the caller compares the text itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache

from wsserver.storage.engine.connection import Connection, Indexed

TABLE = "search_trigrams"
_COMPACT_PAGES = 200
"""Pages that one part of ``compact`` merges."""
_DIGITS = 0xF0000
"""Private characters, the digits of groups: three are one gram. A text that has the same ones is
found in addition."""
_DIGIT_BITS = 10
_REMOVES_AT_ONCE = sqlite3.sqlite_version_info >= (3, 42)
"""Whether FTS5 can take entries out, rather than note that they do not count any more."""


class FtsIndex:
    """The table ``search_trigrams``."""

    tables = (TABLE, *(f"{TABLE}_{part}" for part in ("data", "idx", "config", "content")))

    def add(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Index documents, whose numbers are not in the index.

        In the order of their numbers: at each that is lower than the one before, FTS5 writes out
        what it has gathered, as a part of the index of its own.
        """
        db.executemany(
            f"INSERT INTO {TABLE} (rowid, text, stream) VALUES (?, ?, ?)",  # noqa: S608 - a constant
            [(id_, text, _gram_of(group)) for id_, text, group in sorted(documents)],
        )

    def remove(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Remove documents, with exactly what they were indexed with."""
        if _REMOVES_AT_ONCE:
            db.execute(
                f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('secure-delete', 1)"  # noqa: S608
            )
        db.executemany(
            f"INSERT INTO {TABLE} ({TABLE}, rowid, text, stream)"  # noqa: S608
            " VALUES ('delete', ?, ?, ?)",
            [(id_, text, _gram_of(group)) for id_, text, group in sorted(documents)],
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
        terms = list(map(_quoted, grams))
        if groups is not None:
            terms.append(f"({' OR '.join(_quoted(_gram_of(group)) for group in groups)})")
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


@lru_cache(maxsize=4096)
def _gram_of(group: int) -> str:
    """The gram of a group: ten bits in each character, so of up to 2³⁰."""
    last = (1 << _DIGIT_BITS) - 1
    digits = (group >> 2 * _DIGIT_BITS, group >> _DIGIT_BITS, group)
    return "".join([chr(_DIGITS + (digit & last)) for digit in digits])


def _quoted(gram: str) -> str:
    escaped = gram.replace('"', '""')
    return f'"{escaped}"'
