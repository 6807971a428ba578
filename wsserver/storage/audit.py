"""The audit trail: who did what, newest first."""

from __future__ import annotations

import json
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlite_utils

from wsserver.storage.database import Database
from wsserver.storage.paging import LARGEST_INT, Page, decode_cursor, encode_cursor

_INSERT = (
    "INSERT INTO audit (at, actor, role, action, target, detail, outcome, request_id, remote_ip)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = "id, at, actor, role, action, target, detail, outcome, request_id, remote_ip"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One admin action. Whoever makes it keeps tokens and message bodies out of ``detail``."""

    at: float
    """Seconds since the epoch."""
    actor: str
    """User id."""
    role: str
    action: str
    """What was done, such as ``users.disconnect``."""
    target: str = ""
    """To whom or what, such as ``user:u1``."""
    detail: dict[str, Any] = {}
    outcome: str = "ok"
    """``ok``, or the code of the refusal."""
    request_id: str = ""
    remote_ip: str = ""
    id: int | None = None
    """Given by the database; ascending in the order of storing."""


class Place(NamedTuple):
    """Where a page ended: the id of its last entry."""

    id: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]


class AuditLog:
    """The table ``audit``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, entry: AuditEntry) -> bool:
        """Queue an entry for storing, without waiting; False: refused, logged and counted."""
        values = (
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

        def insert(db: sqlite_utils.Database) -> None:
            db.execute(_INSERT, values)

        return self._database.submit(insert)

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
        """Entries that match all filters given (``since`` inclusive, ``until`` exclusive), newest
        first; includes everything recorded before the call.

        A cursor goes on below the last entry seen: what is recorded meanwhile shifts nothing.
        Raises ``BadRequest`` for a cursor that is none, ``StorageUnavailable``.
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
            wanted["id < ?"] = decode_cursor(cursor, Place).id
        page_sql = (
            f"SELECT {_COLUMNS} FROM audit{_where(wanted)}"  # noqa: S608 - constants only
            " ORDER BY id DESC LIMIT ?"
        )
        page_values = [*wanted.values(), limit + 1]

        def select(db: sqlite_utils.Database) -> tuple[list[Any], int]:
            rows = db.execute(page_sql, page_values).fetchall()
            return rows, db.execute(total_sql, total_values).fetchone()[0]

        await self._database.settle()
        rows, total = await self._database.read(select)
        more = len(rows) > limit
        rows = rows[:limit]
        next_cursor = encode_cursor(Place(rows[-1][0])) if more else None
        return Page([_as_entry(row) for row in rows], total, next_cursor)


def _where(conditions: dict[str, Any]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


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
