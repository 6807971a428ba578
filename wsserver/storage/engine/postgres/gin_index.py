"""PostgreSQL's ``GramIndex``: a GIN index on arrays of the grams' hashes.

It needs no extension, so no rights beyond those of the tables' owner. Different grams may have one
hash: the caller compares the text itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from wsserver.storage.engine.connection import Connection, Indexed

_NEAR = 5000
"""Of so many newest documents the arrays are compared, before the index is asked for all. For
frequent grams that is quicker than to read and sort thousands of entries."""
_MATCH = "grams @> CAST(? AS INT[]) AND id < ?"
_GROUPS = " AND grams && CAST(? AS INT[])"


class GinIndex:
    """The column ``search_docs.grams``."""

    tables: tuple[str, ...] = ()

    def add(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Index documents, whose numbers are not in the index."""
        db.executemany(
            "UPDATE search_docs SET grams = CAST($1 AS INT[]) WHERE id = $2",
            [([*_hashes(text), -group], id_) for id_, text, group in documents],
        )

    def remove(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Remove documents, with exactly what they were indexed with."""
        ids = db.listed([each.id for each in documents])
        db.execute(
            "UPDATE search_docs SET grams = NULL WHERE id IN (SELECT value FROM json_each(?))",
            [ids],
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
        where, values = _MATCH, [list(map(_hash, grams)), before]
        if groups is not None:
            where += _GROUPS
            values.append([-group for group in groups])
        near = db.execute(
            f"SELECT id FROM search_docs WHERE {where} AND id >="  # noqa: S608 - constants only
            " (SELECT coalesce(min(id), 0) FROM"
            " (SELECT id FROM search_docs WHERE id < ? ORDER BY id DESC LIMIT ?) newest)"
            " ORDER BY id DESC LIMIT ?",
            [*values, before, _NEAR, limit],
        ).fetchall()
        if len(near) == limit:
            return [id_ for (id_,) in near]
        rows = db.execute(
            f"WITH found AS MATERIALIZED (SELECT id FROM search_docs WHERE {where})"  # noqa: S608
            " SELECT id FROM found ORDER BY id DESC LIMIT ?",
            [*values, limit],
        )
        return [id_ for (id_,) in rows]

    def compact(self, db: Connection, is_first: bool) -> bool:
        """Without effect: VACUUM removes what is left."""
        return False

    def clear(self, db: Connection, reserved: int) -> None:
        """Remove everything, the rows of ``search_docs`` too."""
        db.execute("TRUNCATE search_docs")
        db.execute(
            "SELECT setval(pg_get_serial_sequence('search_queue', 'id'), greatest(?,"
            " nextval(pg_get_serial_sequence('search_queue', 'id'))))",
            [reserved + 1],
        ).fetchall()


def _hashes(text: str) -> list[int]:
    """One for each gram."""
    return sorted(set(map(_hash, map("".join, zip(text, text[1:], text[2:], strict=False)))))


def _hash(gram: str) -> int:
    """A number from 0 to 2³¹ - 1; those of groups are negative."""
    return crc32(gram.encode()) >> 1
