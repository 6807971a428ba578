"""The audit trail: admin actions, written in groups and read newest first."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec

from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor, take
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.write_buffer import WriteBuffer

WAITING_LIMIT = 10_000
"""Entries that may wait to be stored; further ones are refused."""
KEPT_S = 366 * 86_400
KEPT_ROWS = 1_000_000
"""Entries kept of each action with each outcome."""

_BATCH_ROWS = 300
_COLUMNS = "at, actor, role, action, target, detail, outcome, request_id, remote_ip"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One admin action. ``detail`` must not contain tokens or message bodies."""

    at: float
    """Seconds since the epoch."""
    actor: str
    """User id."""
    role: str
    action: str
    """Name of the action, such as ``users.disconnect``."""
    target: str = ""
    """Object of the action, such as ``user:u1``."""
    detail: dict[str, Any] = {}
    outcome: str = "ok"
    """``ok``, or an error code."""
    request_id: str = ""
    remote_ip: str = ""
    id: int | None = None
    """Assigned by the database, ascending in the order of storing."""


class AuditCursor(NamedTuple):
    """Cursor of a page: the id of its last entry."""

    id: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]


class AuditLog:
    """The table ``audit``, with a buffer of entries to be stored.

    A backend may publish thousands of times a second, so entries are gathered and stored by one
    statement (``WriteBuffer``); a crash loses those still in the buffer.
    """

    def __init__(self, database: Database, waiting_limit: int = WAITING_LIMIT) -> None:
        self._database = database
        self._buffer = WriteBuffer(
            database,
            _insert,
            limit=waiting_limit,
            batch=waiting_limit,
            full="the audit trail takes no more",
        )

    def record(self, entry: AuditEntry) -> bool:
        """Buffer an entry, without waiting; False: refused, logged and counted."""
        return self._buffer.add(entry)

    def flush(self) -> None:
        """Queue all buffered entries for the database now."""
        self._buffer.flush()

    def close(self) -> None:
        """Flush, and refuse further entries; call before the database is closed."""
        self._buffer.close()

    async def page(
        self,
        limit: int,
        cursor: str | None = None,
        *,
        actor: str | None = None,
        action: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Page[AuditEntry]:
        """Entries that match all filters (``since`` inclusive, ``until`` exclusive), newest first.

        Includes everything recorded before the call. A cursor continues below the last entry, so
        entries recorded meanwhile shift nothing. Raises ``BadRequest`` for an invalid cursor,
        ``StorageUnavailable``.
        """
        conditions = {
            "actor = ?": actor,
            "action = ?": action,
            "at >= ?": since,
            "at < ?": until,
        }
        wanted = {text: value for text, value in conditions.items() if value is not None}
        total_sql = f"SELECT count(*) FROM audit{_where(wanted)}"  # noqa: S608 - constants only
        total_values = list(wanted.values())
        if cursor is not None:
            wanted["id < ?"] = decode_cursor(cursor, AuditCursor).id
        page_sql = (
            f"SELECT id, {_COLUMNS} FROM audit{_where(wanted)}"  # noqa: S608 - constants only
            " ORDER BY id DESC LIMIT ?"
        )
        page_values = [*wanted.values(), limit + 1]

        def select(db: Connection) -> tuple[list[Any], bool, int]:
            rows, more = take(db.execute(page_sql, page_values), limit)
            return rows, more, db.execute(total_sql, total_values).fetchone()[0]

        self.flush()
        await self._database.settle()
        rows, more, total = await self._database.read(select)
        next_cursor = encode_cursor(AuditCursor(rows[-1][0])) if more else None
        return Page([_as_entry(row) for row in rows], total, next_cursor)

    async def prune(self, now: float) -> int:
        """Delete entries older than a year and, of each action with each outcome, all but the
        latest million; returns the number deleted.

        Counted separately, so that neither many publishes nor many refused attempts displace other
        entries. In batches of 300 rows, each its own job, so that other writes run in between.
        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        run = self._database.run
        deleted = 0
        while batch := await run(partial(_drop_old, before=now - KEPT_S)):
            deleted += batch
        for action, outcome, last in await self._database.read(_surplus):
            while batch := await run(partial(_drop, action=action, outcome=outcome, last=last)):
                deleted += batch
        return deleted


def _insert(db: Connection, entries: list[AuditEntry]) -> None:
    db.insert("audit", _COLUMNS, [_as_row(entry) for entry in entries])


def _drop_old(db: Connection, before: float) -> int:
    return db.execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount


def _surplus(db: Connection) -> list[tuple[str, str, int]]:
    """Action, outcome and highest id to be deleted, for each group with too many entries."""
    groups = db.execute(
        "SELECT action, outcome FROM audit GROUP BY action, outcome HAVING count(*) > ?",
        [KEPT_ROWS],
    ).fetchall()
    last = "SELECT id FROM audit WHERE action = ? AND outcome = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
    return [
        (action, outcome, db.execute(last, [action, outcome, KEPT_ROWS]).fetchone()[0])
        for action, outcome in groups
    ]


def _drop(db: Connection, action: str, outcome: str, last: int) -> int:
    return db.execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit"
        " WHERE action = ? AND outcome = ? AND id <= ? ORDER BY id LIMIT ?)",
        [action, outcome, last, _BATCH_ROWS],
    ).rowcount


def _where(conditions: dict[str, Any]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _as_row(entry: AuditEntry) -> tuple[Any, ...]:
    return (
        entry.at,
        entry.actor,
        entry.role,
        entry.action,
        entry.target,
        json.dumps(entry.detail, ensure_ascii=False),
        entry.outcome,
        entry.request_id,
        entry.remote_ip,
    )


def _as_entry(row: tuple[Any, ...]) -> AuditEntry:
    id, at, actor, role, action, target, detail, outcome, request_id, remote_ip = row
    return AuditEntry(
        id=id,
        at=at,
        actor=actor,
        role=role,
        action=action,
        target=target,
        detail=json.loads(detail),
        outcome=outcome,
        request_id=request_id,
        remote_ip=remote_ip,
    )
