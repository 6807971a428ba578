"""``UserData``: what the tables besides ``messages`` have about a user, to be exported.

``user_messages`` is for the messages, ``erasure`` for removing what is exported here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec.json import decode

from wsserver.paging import LARGEST_INT
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.user_tables import UserTable, rows_of, shown
from wsserver.storage.messages.message_rows import LAST_OFFSET, OFFSET_BITS

Row = dict[str, Any]
"""An exported row: times as RFC 3339, JSON as it is."""

PAGE_ROWS = 100
SCAN_ROWS = 5000
"""Rows that one query looks at, in tables without an index of users."""
_JSON_COLUMNS = frozenset({"contact", "claims", "content", "detail", "preferences", "value"})
_SELECT_WATCHERS = (
    "SELECT message_id, CASE WHEN state <> 'growing' AND watchers LIKE ? THEN watchers END"
    " FROM answers WHERE message_id > ? ORDER BY message_id LIMIT ?"
)


class _Table(NamedTuple):
    """An exported table and its query."""

    name: str
    select: str
    first: int | str | None = 0
    """Lower than any value of the column ``position``; None: few rows, read at once."""
    scanned: tuple[str, str] | None = None
    """The table and the column that are looked at part by part; None: an index has the users."""


_TABLES = (
    _Table(
        "contacts",
        "SELECT organization_id, changed_at, contact FROM contacts WHERE user_id = :user_id",
        None,
    ),
    _Table(
        "notification_preferences",
        "SELECT changed_at, preferences FROM notification_preferences WHERE user_id = :user_id",
        None,
    ),
    _Table(
        "known_users",
        "SELECT organization_id, role, seen_at FROM known_users WHERE user_id = :user_id",
        None,
    ),
    _Table(
        "user_organizations",
        "SELECT organization_id, entered_by, entered_at FROM user_organizations"
        " WHERE user_id = :user_id",
        None,
    ),
    _Table(
        "revocations",
        "SELECT kind, at FROM revocations WHERE kind = 'user' AND value = :user_id",
        None,
    ),
    _Table(
        "console_sessions",
        "SELECT created_at, ends_at, claims FROM console_sessions WHERE user_id = :user_id",
        None,
    ),
    _Table(
        "participants",
        "SELECT session_id AS position, session_id, read_offset, read_at, is_member, has_joined,"
        " has_written FROM participants WHERE user_id = :user_id AND session_id > :after",
        "",
    ),
    _Table(
        "conversation_changes",
        "SELECT id AS position, session_id, at, field, value FROM conversation_changes"
        " WHERE id > :after AND id <= :until AND changed_by = :user_id",
        scanned=("conversation_changes", "id"),
    ),
    _Table(
        "cursors",
        'SELECT c.stream_id AS position, s.name AS stream, c."offset", c.at FROM cursors c'
        " JOIN streams s ON s.id = c.stream_id WHERE c.stream_id > :after AND c.stream_id <= :until"
        " AND c.user_id = :user_id",
        scanned=("cursors", "stream_id"),
    ),
    _Table(
        "receipts",
        f'SELECT r.key AS position, s.name AS stream, r.key & {LAST_OFFSET} AS "offset",'  # noqa: S608
        " r.delivered_at, r.read_at"
        f" FROM receipts r JOIN streams s ON s.id = r.key >> {OFFSET_BITS}"
        " WHERE r.key > :after AND r.key <= :until AND r.user_id = :user_id",
        scanned=("receipts", "key"),
    ),
    _Table(
        "deliveries",
        "SELECT d.id AS position, d.delivery_id, n.notification_id, n.at, n.type, n.template,"
        " n.content, d.channel, d.state, d.reason, d.expires_at, d.sent_at, d.acknowledged_at,"
        " d.read_at, d.archived_at FROM deliveries d JOIN notifications n ON n.id = d.notification"
        " WHERE d.user_id = :user_id AND d.id > :after",
    ),
    _Table(
        "attempts",
        "SELECT a.delivery << 20 | a.number AS position, d.delivery_id, a.number, a.at, a.outcome,"
        " a.detail AS text FROM deliveries d JOIN attempts a ON a.delivery = d.id"
        " WHERE d.user_id = :user_id AND (a.delivery << 20 | a.number) > :after",
    ),
    _Table(
        "notifications",
        "SELECT id AS position, notification_id, at, type, template, content FROM notifications"
        " WHERE id > :after AND id <= :until AND sender = :user_id",
        scanned=("notifications", "id"),
    ),
    _Table(
        "audit",
        "SELECT id AS position, at, role, action, target, detail, outcome, request_id, remote_ip"
        " FROM audit WHERE actor = :user_id AND id > :after",
    ),
)
_PARAMETER_NAMES = ("user_id", "after", "until", "limit")


class UserData:
    """Reads the rows of a user; raises ``StorageUnavailable``.

    The work of each query is bounded. What no index finds is found by looking at whole tables, a
    part at a time. ``tables``: those of extensions.
    """

    def __init__(self, database: Database, tables: Sequence[UserTable] = ()) -> None:
        self._database = database
        self._tables = tables

    async def rows(self, user_id: str) -> AsyncIterator[tuple[str, list[Row]]]:
        """The rows of a user with the names of their tables, some at a time."""
        await self._database.settle()  # of the audit trail
        for table in _TABLES:
            async for rows in self._rows_of(table, user_id):
                yield table.name, rows
        async for found in watched(self._database, user_id):
            rows = [
                {"message_id": message_id, "from_at": since, "until_at": until}
                for message_id, watches in found
                for watcher, since, until in watches
                if watcher == user_id
            ]
            if rows:
                yield "answers", [_shown(row) for row in rows]
        async for name, found_rows in rows_of(self._database, self._tables, user_id):
            yield name, found_rows

    async def _rows_of(self, table: _Table, user_id: str) -> AsyncIterator[list[Row]]:
        async for after, until in self._parts(table):
            values = {"user_id": user_id, "after": after, "until": until, "limit": PAGE_ROWS}
            is_whole = False
            while not is_whole:
                rows = await self._database.read(partial(_page, table=table, values=values))
                is_whole = table.first is None or len(rows) < PAGE_ROWS
                if rows:
                    values["after"] = rows[-1].get("position")
                    yield [_shown(row) for row in rows]

    async def _parts(self, table: _Table) -> AsyncIterator[tuple[int | str | None, int]]:
        if table.scanned is None:
            yield table.first, LARGEST_INT
        else:
            async for part in parts(self._database, *table.scanned):
                yield part


async def parts(database: Database, table: str, column: str) -> AsyncIterator[tuple[int, int]]:
    """The parts of a table that are looked at one after the other: after, until.

    ``column`` is the first one of the primary key, and a number above 0.
    """
    sql = (
        f"SELECT {column} FROM {table} WHERE {column} > ?"  # noqa: S608 - constants only
        f" ORDER BY {column} LIMIT 1 OFFSET {SCAN_ROWS - 1}"
    )
    after = 0
    while True:
        end = await database.read(partial(_one, sql=sql, value=after))
        if end is None:
            yield after, LARGEST_INT
            return
        yield after, end
        after = end


async def watched(database: Database, user_id: str) -> AsyncIterator[list[tuple[str, list[Any]]]]:
    """Answers that have ended and that a user has watched: ids, with all their watchers."""
    after = ""
    while True:
        values = [f'%"{user_id}"%', after, SCAN_ROWS]
        rows = await database.read(partial(_all, sql=_SELECT_WATCHERS, values=values))
        found = [(id_, decode(watchers)) for id_, watchers in rows if watchers is not None]
        yield [row for row in found if any(user_id == watcher for watcher, *_ in row[1])]
        if len(rows) < SCAN_ROWS:
            return
        after = rows[-1][0]


def _page(db: Connection, table: _Table, values: dict[str, Any]) -> list[Row]:
    sql = table.select
    if table.first is not None:
        sql += " ORDER BY position LIMIT :limit"
    named = {name: values[name] for name in _PARAMETER_NAMES if f":{name}" in sql}
    cursor = db.execute(sql, named)
    names = [name for name, *_ in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _one(db: Connection, sql: str, value: int) -> int | None:
    row = db.execute(sql, [value]).fetchone()
    return None if row is None else row[0]


def _all(db: Connection, sql: str, values: list[Any]) -> list[Any]:
    return db.execute(sql, values).fetchall()


def _shown(row: Row) -> Row:
    """A row as it is exported."""
    return shown({name: row[name] for name in row if name != "position"}, _JSON_COLUMNS)
