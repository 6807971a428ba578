"""A database with the server's schema, and rows to export."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from wsctl.output.stats_fields import TEN
from wsserver.clock import Clock
from wsserver.storage.engine.database import Database

START = 1_700_000_000


def make_database(path: Path) -> Path:
    """An empty one, with its schema."""

    async def make() -> None:
        database = Database(path, clock=Clock())
        await database.open()
        await database.close()

    asyncio.run(make())
    return path


def add_entries(path: Path, *numbers: int) -> None:
    """Entries of the audit trail, each with its number as its target."""
    _insert(
        path,
        "INSERT INTO audit (at, actor, role, action, target, detail, outcome, request_id,"
        " remote_ip) VALUES (?, '=1+1', 'admin', 'disconnect', ?, '{\"n\": 1}', 'ok', 'r', '::1')",
        [(START + number, str(number)) for number in numbers],
    )


def add_snapshots(path: Path, *numbers: int, step_s: float = 60, **extra: Any) -> None:
    """Snapshots a minute apart, each with its number as its sequence."""
    columns, marks = ", ".join(TEN), ", ".join("?" * len(TEN))
    _insert(
        path,
        f"INSERT INTO snapshots (at, node, sequence, {columns}, extra)"
        f" VALUES (?, 'n1', ?, {marks}, ?)",
        [(START + step_s * n, n, *[n] * len(TEN), json.dumps(extra)) for n in numbers],
    )


def add_deliveries(path: Path, *names: str, state: str = "failed") -> None:
    """A notification for each delivery."""
    _insert(
        path,
        "INSERT INTO notifications (notification_id, at, expires_at, type, content, recipients)"
        " VALUES (?, ?, ?, 'info', ?, '{}')",
        [(f"n-{name}", START, START + 9, '{"title": "@T", "message": "M"}') for name in names],
    )
    _insert(
        path,
        "INSERT INTO deliveries (delivery_id, notification, user_id, channel, state, expires_at,"
        " unless_acknowledged) SELECT ?, id, 'u1', 'email', ?, ?, 0 FROM notifications"
        " WHERE notification_id = ?",
        [(name, state, START + 9, f"n-{name}") for name in names],
    )


def change(path: Path, sql: str, *values: Any) -> None:
    """Any other change."""
    _insert(path, sql, [values])


def _insert(path: Path, sql: str, rows: list[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(sql, rows)
        connection.commit()


def rows_in(*files: Path) -> list[dict[str, str]]:
    """The rows of CSV files, one file after the other."""
    found: list[dict[str, str]] = []
    for path in files:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        found += csv.DictReader(text.splitlines())
    return found
