"""``upsert``: insert or update many rows with few statements.

Each execution releases the interpreter's lock and waits for it again, for as long as the busy event
loop holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from wsserver.storage.engine.connection import Connection

_SIZES = (100, 10, 1)
"""Rows of a statement: of few lengths, as each is prepared once and kept."""


def upsert(
    db: Connection, table: str, columns: str, tail: str, rows: Sequence[Sequence[Any]]
) -> list[tuple[Any, ...]]:
    """Insert rows of different keys, each with the same ``ON CONFLICT`` clause, the ``tail``.

    Returns what it returns.
    """
    found: list[tuple[Any, ...]] = []
    done = 0
    for size in _SIZES:
        while len(rows) - done >= size:
            values = list(chain.from_iterable(rows[done : done + size]))
            cursor = db.execute(_statement(table, columns, tail, size), values)
            if "RETURNING" in tail:
                found += cursor.fetchall()
            done += size
    return found


@cache
def _statement(table: str, columns: str, tail: str, size: int) -> str:
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([row] * size)}{tail}"  # noqa: S608
