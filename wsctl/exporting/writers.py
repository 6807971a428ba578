"""Writers of rows as CSV, JSON and NDJSON."""

from __future__ import annotations

import json
import marshal
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wsctl.output.csv_rows import CsvRows
from wsctl.output.stats_fields import TEN
from wsctl.text import flatten

Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The columns of a kind of export."""

    first: tuple[str, ...]
    """Columns that come first, also in an export without rows."""
    is_open: bool
    """Whether rows may have more columns; else ``first`` are all."""


SHAPES = {
    "stats": Shape(("timestamp", "node", *TEN), is_open=True),
    "audit": Shape(
        ("id", "at", "actor", "role", "action", "target", "outcome", "detail", "request_id",
         "remote_ip"),
        is_open=False,
    ),
    "notifications": Shape(
        ("notification_id", "delivery_id", "created_at", "expires_at", "type", "template",
         "params", "title", "message", "action_url", "sender", "organization_id", "user_id",
         "channel", "is_escalation", "state", "reason", "next_attempt_at", "sent_at",
         "acknowledged_at", "attempts"),
        is_open=False,
    ),
    "usage": Shape(
        ("at", "scope", "unit", "amount", "cost", "source", "session_id", "message_id",
         "reported_by"),
        is_open=False,
    ),
    "user-data": Shape(("table", "row"), is_open=False),
    "messages": Shape(
        ("session_id", "offset", "message_id", "created_at", "type", "user_id", "username", "role",
         "content_type", "content", "reply_to", "state", "edited_at", "edited_by", "deleted"),
        is_open=False,
    ),
}  # fmt: skip
_NESTED = {dict, list}
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def in_order(names: Collection[str], shape: Shape) -> list[str]:
    """Column order, equal for rows from the API and from the database file."""
    first = shape.first
    return [*(name for name in first if name in names), *sorted({*names}.difference(first))]


def _csv(rows: Iterable[Row], shape: Shape, file: IO[str], folder: Path | None) -> int:
    """CSV (RFC 4180, lines end with LF); cells are safe against formulas."""
    writer = CsvRows(file)
    if not shape.is_open:
        writer.row(shape.first)
        return _count(writer.row(_cells(row, shape)) for row in rows)
    # The header comes first, but the last row may have a new column: rows are spooled to an
    # unnamed file, so that memory does not grow with their number.
    with tempfile.TemporaryFile(dir=folder) as spool:
        names = set(shape.first)
        count = 0
        for row in rows:
            flat = row if _NESTED.isdisjoint(map(type, row.values())) else flatten(row)
            names.update(flat)
            kept = marshal.dumps(flat)
            spool.write(len(kept).to_bytes(4) + kept)
            count += 1
        columns = in_order(names, shape)
        writer.row(columns)
        spool.seek(0)
        for _ in range(count):
            kept = spool.read(int.from_bytes(spool.read(4)))
            flat = marshal.loads(kept)  # noqa: S302 - our own unnamed file
            writer.row(flat.get(name) for name in columns)
    return count


def _cells(row: Row, shape: Shape) -> Iterator[Any]:
    """Cells of a row; nested values as JSON, so that the columns are always the same."""
    for name in shape.first:
        value = row.get(name)
        yield _encode(value) if isinstance(value, dict | list) else value


def _json(rows: Iterable[Row], shape: Shape, file: IO[str], _: Path | None) -> int:
    file.write("[")
    count = 0
    for row in rows:
        file.write(",\n" if count else "\n")
        file.write(_encode({name: row[name] for name in in_order(row, shape)}))
        count += 1
    file.write("\n]\n")
    return count


def _ndjson(rows: Iterable[Row], shape: Shape, file: IO[str], _: Path | None) -> int:
    return _count(
        file.write(_encode({name: row[name] for name in in_order(row, shape)}) + "\n")
        for row in rows
    )


def _count(done: Iterator[object]) -> int:
    return sum(1 for _ in done)


Writer = Callable[[Iterable[Row], Shape, IO[str], Path | None], int]
WRITERS: dict[str, Writer] = {"csv": _csv, "json": _json, "ndjson": _ndjson}
"""Each writes rows into a file and returns their number; temporary data go into the folder (None:
the system's temporary folder)."""
