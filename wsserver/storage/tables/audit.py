"""The audit trail: admin actions, written in groups and read newest first."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlite_utils

from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor, take
from wsserver.storage.engine.database import Database

GATHER_S = 0.2
"""Entries of this time are stored together: each commit delays fan-outs (GIL)."""
RETRY_S = 1.0
"""Delay before entries that could not be stored are retried."""
WAITING_LIMIT = 10_000
"""Entries that may wait to be stored; further ones are refused."""
BUSY_JOBS = 1000
"""While more jobs than this wait for the database, entries are held back."""
KEPT_S = 366 * 86_400
KEPT_ROWS = 1_000_000
"""Entries kept of each action with each outcome."""

_BATCH_ROWS = 300
_INSERT = (
    "INSERT INTO audit (at, actor, role, action, target, detail, outcome, request_id, remote_ip)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = "id, at, actor, role, action, target, detail, outcome, request_id, remote_ip"


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

    A backend may publish thousands of times a second, so entries are gathered for 0.2 s and stored
    by one statement; a crash loses those still in the buffer. While the database is locked, full
    or failing, up to 10,000 entries wait in it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[AuditEntry] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def record(self, entry: AuditEntry) -> bool:
        """Buffer an entry, without waiting; False: refused, logged and counted."""
        if self._is_closed or len(self._waiting) >= WAITING_LIMIT:
            self._database.refuse("the audit trail takes no more")
            return False
        self._waiting.append(entry)
        if self._timer is None:
            self._arm(GATHER_S)
        return True

    def flush(self) -> None:
        """Queue all buffered entries for the database now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            entries, self._waiting = self._waiting, []
            self._database.submit(
                partial(_insert, entries),
                writes=len(entries),
                take_back=partial(self._take_back, entries),
            )

    def close(self) -> None:
        """Flush, and refuse further entries; call before the database is closed."""
        self._is_closed = True
        self.flush()

    def _take_back(self, entries: list[AuditEntry], error: Exception) -> bool:
        """Return unstored entries to the buffer; those beyond its limit are lost."""
        is_temporary = isinstance(error, StorageUnavailable | StorageFull)
        if self._is_closed or not is_temporary:
            return False
        kept = entries[: max(0, WAITING_LIMIT - len(self._waiting))]
        if len(kept) < len(entries):
            self._database.refuse("the audit trail takes no more", len(entries) - len(kept))
        self._waiting[:0] = kept
        if self._timer is None:
            self._arm(RETRY_S)
        return True

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._store)

    def _store(self) -> None:
        if self._database.queued > BUSY_JOBS:  # for example behind a lock: do not fill the queue
            self._arm(GATHER_S)
        else:
            self.flush()

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
            f"SELECT {_COLUMNS} FROM audit{_where(wanted)}"  # noqa: S608 - constants only
            " ORDER BY id DESC LIMIT ?"
        )
        page_values = [*wanted.values(), limit + 1]

        def select(db: sqlite_utils.Database) -> tuple[list[Any], bool, int]:
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


def _insert(entries: list[AuditEntry], db: sqlite_utils.Database) -> None:
    db.conn.executemany(_INSERT, map(_as_row, entries))


def _drop_old(db: sqlite_utils.Database, before: float) -> int:
    return db.execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount


def _surplus(db: sqlite_utils.Database) -> list[tuple[str, str, int]]:
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


def _drop(db: sqlite_utils.Database, action: str, outcome: str, last: int) -> int:
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
