"""``newest_page``: a page of the rows of a table by descending ids, which grow with time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from wsserver.paging import Page, decode_cursor, encode_cursor, take
from wsserver.protocol.types import Id
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

T = TypeVar("T")


class IdCursor(NamedTuple):
    """Cursor of a page: the id of its last row."""

    id: Id


class Rows(NamedTuple):
    """The rows that match all conditions; none of it but ``values`` comes from a request."""

    table: str
    key: str
    """The column of the ids."""
    columns: str
    conditions: Sequence[str]
    values: Sequence[Any]


async def newest_page(
    database: Database,
    rows: Rows,
    limit: int,
    cursor: str | None,
    make: Callable[[Sequence[Any]], T],
    id_of: Callable[[T], str],
) -> Page[T]:
    """A page, and how many rows match. Raises ``BadRequest`` for a bad cursor."""
    table, key, columns, conditions, values = rows
    later, later_values = list(conditions), list(values)
    if cursor is not None:
        later.append(f"{key} < ?")
        later_values.append(decode_cursor(cursor, IdCursor).id)

    def select(db: Connection) -> tuple[list[T], bool, int]:
        found = db.execute(
            f"SELECT {columns} FROM {table}{_where(later)} ORDER BY {key} DESC LIMIT ?",  # noqa: S608
            [*later_values, limit + 1],
        )
        items, has_more = take(map(make, found), limit)
        count = f"SELECT count(*) FROM {table}{_where(conditions)}"  # noqa: S608
        return items, has_more, db.execute(count, values).fetchone()[0]

    items, has_more, total = await database.read(select)
    return Page(items, total, encode_cursor(IdCursor(id_of(items[-1]))) if has_more else None)


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
