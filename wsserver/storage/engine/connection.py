"""The connection that a job gets: statements, rows, and what SQL dialects write differently.

Statements are in the common subset of SQLite and PostgreSQL, in SQLite's spelling:

* placeholders ``?``, or ``?1`` or ``:name`` where a value is used twice;
* ``x IN (SELECT value FROM json_each(?))`` for a list of values (``Connection.listed``);
* ``json_extract(x, '$.name')`` for a text of a JSON object (a text, or bytes cast to one);
* ``CAST(x AS INTEGER)`` for cutting off the fraction of a number ≥ 0.

PostgreSQL's connection translates these, and nothing else. Not in the subset: ``INSERT OR …``
(``ON CONFLICT`` instead), scalar ``max``, ``IS`` between values, 0 and 1 as conditions, columns
beside an aggregate, subqueries in FROM without a name, ``rowid``, a parameter whose type does not
follow from where it is: ``CAST(:x AS DOUBLE PRECISION) IS NULL``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

Parameters = Sequence[Any] | Mapping[str, Any]


class Cursor(Protocol):
    """The result of a statement; valid in the job only. Rows are tuples."""

    @property
    def rowcount(self) -> int:
        """Rows that an INSERT, UPDATE or DELETE has changed."""
        ...

    @property
    def description(self) -> Sequence[Sequence[Any]] | None:
        """One entry for each column; its first item is the name."""
        ...

    def fetchone(self) -> Any:
        """The next row; None: there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Executor(Protocol):
    """Executes one statement; also a plain ``sqlite3.Connection``."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor:
        """Execute a statement of the common subset."""
        ...


class Connection(Executor, Protocol):
    """A database connection inside of one job: neither commits nor rolls back."""

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> Cursor:
        """Execute a statement that returns no rows once for each set of parameters."""
        ...

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Insert many rows with few statements; ``columns``: names with commas in between."""
        ...

    def pipeline(self) -> AbstractContextManager[object]:
        """Inside, statements may be sent before the results of earlier ones are awaited.

        Fetch a result only after all statements that do not depend on it.
        """
        ...

    @property
    def grams(self) -> GramIndex:
        """The inverted index of texts, as this engine has it."""
        ...

    def overwrite_deleted(self) -> None:
        """Overwrite in the file what this transaction deletes or replaces from here on.

        Otherwise the space is only marked as free. PostgreSQL does it by VACUUM.
        """
        ...

    def listed(self, values: Collection[Any], /) -> object:
        """The parameter for a list of texts or of integers (see the module)."""
        ...

    def last_number(self, table: str, /) -> int:
        """The highest ``id`` that a committed row of a numbered table has ever had; 0: none.

        For tables whose ids ascend in the order of committing (see ``Exports``).
        """
        ...


class Indexed(NamedTuple):
    """What is indexed under a number."""

    id: int
    text: str
    """Its grams are all pieces of three characters; no NUL."""
    group: int
    """A number that queries may be limited to."""


class GramIndex(Protocol):
    """Finds the numbers whose texts have all of some grams, of three characters each.

    The engines implement it. The functions run in jobs of the database; numbers are those of
    the table ``search_docs``.
    """

    tables: tuple[str, ...]
    """Tables of this engine's own, which a copy to the other one leaves out."""

    def add(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Index documents, whose numbers are not in the index."""

    def remove(self, db: Connection, documents: Sequence[Indexed]) -> None:
        """Remove documents, with exactly what they were indexed with."""

    def find(
        self,
        db: Connection,
        grams: Sequence[str],
        groups: Sequence[int] | None,
        before: int,
        limit: int,
    ) -> Iterable[int]:
        """The highest numbers below ``before`` that have all of the grams, descending.

        ``groups``: of one of these groups (a thousand at most); None: of any.
        """
        ...

    def compact(self, db: Connection, is_first: bool) -> bool:
        """Do a part of removing what deletions have left; False: it is done.

        ``is_first``: whether it begins anew.
        """
        ...

    def clear(self, db: Connection, reserved: int) -> None:
        """Remove everything, the rows of ``search_docs`` too.

        The ids of ``search_queue`` go on above ``reserved``.
        """
