"""Exported rows in the order of committing, so that an export resumes where the last one ended.

See the migration ``m0023_exports`` for the numbers, and why everything above a number is exactly
what was committed since.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from wsserver.paging import take
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.epochs import EXPORT_EPOCH_KEY
from wsserver.storage.notifications.notification_rows import ATTEMPTS_LISTED
from wsserver.storage.tables.snapshots import FIELDS

Row = dict[str, Any]
Numbered = tuple[int, Row]
"""A row after its position."""
Rows = tuple[list[Numbered], bool]
"""Rows, and whether they end early at the limit of bytes."""

_SNAPSHOT = ", ".join(FIELDS)
_AUDIT = ("at", "actor", "role", "action", "target", "detail", "outcome", "request_id", "remote_ip")
_DELIVERY = """
    d.id, d.delivery_id, n.notification_id, n.at AS created_at, d.expires_at, n.type, n.template,
    n.content, n.sender, n.organization_id, d.channel, d.user_id, d.state, d.reason,
    CASE d.state WHEN 'pending' THEN d.due_at END AS next_attempt_at, d.sent_at, d.acknowledged_at,
    d.unless_acknowledged
"""
_ACCEPTED = f"""
    SELECT d.id, {_DELIVERY}
    FROM deliveries d JOIN notifications n ON n.id = d.notification
    WHERE d.id > :after
"""  # noqa: S608 - constants only
_SETTLED = f"""
    SELECT o.id, {_DELIVERY}
    FROM outcomes o JOIN deliveries d ON d.id = o.delivery
    JOIN notifications n ON n.id = d.notification
    WHERE o.id > :after
"""  # noqa: S608 - constants only
_IN_RANGE = (
    " AND (CAST(:since AS DOUBLE PRECISION) IS NULL OR {0}at >= :since)"
    " AND (CAST(:until AS DOUBLE PRECISION) IS NULL OR {0}at < :until)"
)
_SCOPE = (
    f"{_IN_RANGE.format('n.')}"
    " AND (CAST(:organization_id AS TEXT) IS NULL OR n.organization_id = :organization_id)"
)


class ExportRange(NamedTuple):
    """The rows to read: at most ``limit`` after a position, within times (epoch seconds)."""

    after: int = 0
    limit: int = 1000
    since: float | None = None
    """Inclusive."""
    until: float | None = None
    """Exclusive."""


class ExportBatch(NamedTuple):
    """Rows in the order of committing, of one snapshot of the database."""

    rows: list[Numbered]
    """Each with its position; times in epoch seconds."""
    position: int
    """Where the next batch begins; ``end`` if there is nothing after it."""
    end: int
    """The position of the row committed last; never decreases."""
    epoch: str
    """Of the positions; those of another epoch are not comparable."""


class Exports:
    """Reads snapshots, audit trail and deliveries for exports.

    All methods raise ``StorageUnavailable``. The cost of a batch does not depend on how much is
    stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def snapshots(self, part: ExportRange) -> ExportBatch:
        """Snapshots; hourly means that include a snapshot after the position."""
        return await self._read(part, _snapshots, "snapshots")

    async def audit(self, part: ExportRange) -> ExportBatch:
        """Entries of the audit trail; call ``AuditLog.flush`` before."""
        await self._database.settle()
        return await self._read(part, _audit, "audit")

    async def deliveries(
        self, part: ExportRange, organization_id: str | None = None
    ) -> ExportBatch:
        """Deliveries in their current state, in the order in which they were accepted.

        ``organization_id`` (None: any) and the times of the range are those of the notification.
        """
        return await self._read(
            part, partial(_accepted, organization_id=organization_id), "deliveries"
        )

    async def outcomes(self, part: ExportRange, organization_id: str | None = None) -> ExportBatch:
        """Settled deliveries, in the order of settling."""
        return await self._read(
            part, partial(_settled, organization_id=organization_id), "outcomes"
        )

    async def _read(
        self,
        part: ExportRange,
        select: Callable[[Connection, ExportRange], Rows],
        table: str,
    ) -> ExportBatch:
        def read(db: Connection) -> ExportBatch:
            end, epoch = db.last_number(table), _epoch(db)
            rows, is_cut = select(db, part)
            is_full = is_cut or len(rows) == part.limit
            position = rows[-1][0] if is_full else max(end, part.after)
            return ExportBatch(rows, position, end, epoch)

        return await self._database.read(read)


def _epoch(db: Connection) -> str:
    epoch: str = db.execute("SELECT value FROM meta WHERE key = ?", [EXPORT_EPOCH_KEY]).fetchone()[
        0
    ]
    return epoch


def _start(db: Connection, table: str, part: ExportRange) -> int:
    """The position before the first row in the range of times, looked up in an index."""
    if part.since is None or part.after:
        return part.after
    (first,) = db.execute(
        f"SELECT min(id) FROM {table} WHERE at >= ?",  # noqa: S608 - constants only
        [part.since],
    ).fetchone()
    return part.after if first is None else int(first) - 1


def _snapshots(db: Connection, part: ExportRange) -> Rows:
    where = _IN_RANGE.format("")
    raw = db.execute(
        f"SELECT id, at, node, sequence, 1, {_SNAPSHOT}, extra FROM snapshots"  # noqa: S608
        f" WHERE id > :after{where} ORDER BY id LIMIT :limit",
        part._replace(after=_start(db, "snapshots", part))._asdict(),
    ).fetchall()
    means = db.execute(
        f"SELECT last_id, at, node, NULL, samples, {_SNAPSHOT}, extra"  # noqa: S608
        f" FROM snapshot_means WHERE last_id > :after{where} ORDER BY last_id LIMIT :limit",
        part._asdict(),
    ).fetchall()
    both = heapq.merge(raw, means, key=lambda row: row[0])
    rows = [_as_snapshot(row) for row, _ in zip(both, range(part.limit), strict=False)]
    return rows, False  # snapshots are small


def _as_snapshot(row: tuple[Any, ...]) -> Numbered:
    id, at, node, sequence, samples, *values, extra = row
    return id, {
        "timestamp": at,
        "node": node,
        **dict(zip(FIELDS, values, strict=True)),
        "sequence": sequence,
        "samples": samples,
        **msgspec.json.decode(extra),
    }


def _audit(db: Connection, part: ExportRange) -> Rows:
    found = db.execute(
        f"SELECT id, {', '.join(_AUDIT)} FROM audit WHERE id > :after"  # noqa: S608
        f"{_IN_RANGE.format('')} ORDER BY id LIMIT :limit",
        part._replace(after=_start(db, "audit", part))._asdict(),
    )
    rows, is_cut = take(found, part.limit)
    entries = []
    for id, *values in rows:
        entry = {"id": id, **dict(zip(_AUDIT, values, strict=True))}
        entries.append((id, {**entry, "detail": msgspec.json.decode(entry["detail"])}))
    return entries, is_cut


def _accepted(db: Connection, part: ExportRange, organization_id: str | None) -> Rows:
    if part.since is not None and not part.after:
        # Both are inserted together: ids of deliveries ascend with those of their notifications.
        first = _start(db, "notifications", part)
        (start,) = db.execute(
            "SELECT min(id) FROM deliveries WHERE notification ="
            " (SELECT min(notification) FROM deliveries WHERE notification > ?)",
            [first],
        ).fetchone()
        part = part._replace(after=0 if start is None else start - 1)
    return _deliveries(db, f"{_ACCEPTED}{_SCOPE} ORDER BY d.id", part, organization_id)


def _settled(db: Connection, part: ExportRange, organization_id: str | None) -> Rows:
    return _deliveries(db, f"{_SETTLED}{_SCOPE} ORDER BY o.id", part, organization_id)


def _deliveries(db: Connection, sql: str, part: ExportRange, organization_id: str | None) -> Rows:
    cursor = db.execute(
        f"{sql} LIMIT :limit", {**part._asdict(), "organization_id": organization_id}
    )
    names = [name for name, *_ in cursor.description or ()][2:]
    rows, is_cut = take(cursor, part.limit)
    attempts = _attempts(db, [row[1] for row in rows])
    whole, is_cut_again = take(
        [
            (position, _as_delivery(dict(zip(names, values, strict=True)), attempts.get(key, [])))
            for position, key, *values in rows
        ],
        part.limit,
    )
    return whole, is_cut or is_cut_again


def _attempts(db: Connection, deliveries: list[int]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for delivery, at, outcome, detail in db.execute(
        "SELECT a.delivery, a.at, a.outcome, a.detail"
        " FROM attempts a WHERE a.delivery IN (SELECT value FROM json_each(?))"
        " AND a.number > (SELECT number FROM deliveries WHERE id = a.delivery) - ?"
        " ORDER BY a.delivery, a.number",
        [db.listed(deliveries), ATTEMPTS_LISTED],
    ):
        found.setdefault(delivery, []).append({"at": at, "outcome": outcome, "detail": detail})
    return found


def _as_delivery(row: Row, attempts: list[Row]) -> Row:
    """A delivery with its text as submitted; one of a template has parameters instead."""
    content = msgspec.json.decode(row.pop("content"))
    has_template = row["template"] is not None
    text = {} if has_template else content
    row["is_escalation"] = bool(row.pop("unless_acknowledged"))
    return {
        **row,
        "title": text.get("title"),
        "message": text.get("message"),
        "action_url": text.get("action_url"),
        "params": content if has_template else None,
        "attempts": attempts,
    }
