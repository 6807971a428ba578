"""``UserTable``: a declared table with rows about users; exporting and erasing those of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import Raw

from wsserver.clock import rfc3339
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

SCAN_ROWS = 5000
"""Rows that one query looks at."""
BATCH_ROWS = 100
"""Rows that are read or changed at once."""


@dataclass(frozen=True, kw_only=True)
class UserTable:
    """Which rows of a table are about a user, and what becomes of them.

    The table is looked at part by part, so that no query takes long, however many rows it has.
    """

    table: str
    key: str
    """Column that an index begins with; rows with the same value are looked at together."""
    where: str
    """SQL condition of the rows about a user, with ``:user_id``."""
    columns: str
    """What is exported, separated by ``", "``; "": nothing."""
    json_columns: frozenset[str] = frozenset()
    """Those of them that are JSON."""
    change: str | None = "DELETE"
    """``DELETE``, or ``SET …`` for rows that stay without the user; None: they stay."""


async def rows_of(
    database: Database, tables: Iterable[UserTable], user_id: str
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """The rows of a user as they are exported, with the names of their tables, some at a time.

    Raises ``StorageUnavailable``.
    """
    for table in tables:
        if not table.columns:
            continue
        sql = (
            f"SELECT {table.columns} FROM {table.table}"  # noqa: S608 - constants only
            f" WHERE {_of_keys(table)} AND ({table.where}) ORDER BY {table.key}"
        )
        async for keys in _keys(database, table, user_id):
            job = partial(_rows, sql=sql, user_id=user_id, keys=keys)
            rows = await database.read(job)
            if rows:
                yield table.table, [shown(row, table.json_columns) for row in rows]


async def erase_rows(database: Database, tables: Iterable[UserTable], user_id: str) -> Counter[str]:
    """Erase a user; returns the numbers of rows by table.

    Raises ``StorageUnavailable``, ``StorageFull``; what was not erased then is by the next call.
    """
    erased: Counter[str] = Counter()
    for table in tables:
        if table.change is None:
            continue
        verb = (
            f"DELETE FROM {table.table}"  # noqa: S608 - constants only
            if table.change == "DELETE"
            else f"UPDATE {table.table} {table.change}"
        )
        sql = f"{verb} WHERE {_of_keys(table)} AND ({table.where})"
        erased[table.table] += 0
        async for keys in _keys(database, table, user_id):
            job = partial(_change, sql=sql, user_id=user_id, keys=keys)
            erased[table.table] += await database.run(job)
    return erased


def shown(row: Mapping[str, Any], json_columns: frozenset[str]) -> dict[str, Any]:
    """A row as it is exported: times as RFC 3339, JSON as it is."""
    return {name: _shown_value(name, row[name], json_columns) for name in row}


def _shown_value(name: str, value: Any, json_columns: frozenset[str]) -> Any:
    if value is None:
        return None
    if name == "at" or name.endswith("_at"):
        return rfc3339(value)
    if name in json_columns:
        return Raw(value if isinstance(value, bytes) else value.encode())
    return value


async def _keys(
    database: Database, table: UserTable, user_id: str
) -> AsyncIterator[Sequence[int | str]]:
    """The keys of a user's rows, in batches."""
    async for part in _parts(database, table):
        sql = (
            f"SELECT DISTINCT {table.key} FROM {table.table}"  # noqa: S608 - constants only
            f" WHERE {_within(table, part)} ({table.where}) ORDER BY {table.key}"
        )
        keys = await database.read(partial(_column, sql=sql, values={**part, "user_id": user_id}))
        for first in range(0, len(keys), BATCH_ROWS):
            yield keys[first : first + BATCH_ROWS]


async def _parts(database: Database, table: UserTable) -> AsyncIterator[dict[str, int | str]]:
    """The parts of a table: the key ``after`` which one begins, and ``until`` where it ends."""
    part: dict[str, int | str] = {}
    while True:
        after = {"after": part["until"]} if part else {}
        sql = (
            f"SELECT {table.key} FROM {table.table} WHERE {_within(table, after)} 1 = 1"  # noqa: S608
            f" ORDER BY {table.key} LIMIT 1 OFFSET {SCAN_ROWS - 1}"
        )
        ends = await database.read(partial(_column, sql=sql, values=after))
        if not ends:
            yield after
            return
        part = {**after, "until": ends[0]}
        yield part


def _within(table: UserTable, part: Mapping[str, int | str]) -> str:
    """SQL condition of a part, followed by ``AND``."""
    lower = f"{table.key} > :after AND" if "after" in part else ""
    return lower + (f" {table.key} <= :until AND" if "until" in part else "")


def _of_keys(table: UserTable) -> str:
    return f"{table.key} IN (SELECT value FROM json_each(:keys))"  # noqa: S608 - constants only


def _column(db: Connection, sql: str, values: Mapping[str, Any]) -> list[int | str]:
    return [value for (value,) in db.execute(sql, values)]


def _rows(
    db: Connection, sql: str, user_id: str, keys: Sequence[int | str]
) -> list[dict[str, Any]]:
    cursor = db.execute(sql, {"user_id": user_id, "keys": db.listed(keys)})
    names = [name for name, *_ in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _change(db: Connection, sql: str, user_id: str, keys: Sequence[int | str]) -> int:
    db.overwrite_deleted()
    return db.execute(sql, {"user_id": user_id, "keys": db.listed(keys)}).rowcount
