"""Reader of the database file, while the server is down or running."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from wsctl.errors import Failed
from wsctl.exporting.reader import Numbered, Row, Wanted
from wsctl.output.stats_fields import TEN
from wsctl.snapshots.history import as_snapshot
from wsctl.times import rfc3339

_AT_ONCE = 1000
_AUDIT = ("id", "at", "actor", "role", "action", "target", "detail", "outcome", "request_id",
          "remote_ip")  # fmt: skip
_TIMES = ("created_at", "expires_at", "next_attempt_at", "sent_at", "acknowledged_at")
_RANGE = " AND (:since IS NULL OR {0} >= :since) AND (:until IS NULL OR {0} < :until)"
_RAW = f"""
    SELECT id, at, node, sequence, 1, {", ".join(TEN)}, extra FROM snapshots
    WHERE id > :after {_RANGE.format("at")} ORDER BY id
"""  # noqa: S608 - constants only, as below
_MEANS = f"""
    SELECT last_id, at, node, NULL, samples, {", ".join(TEN)}, extra FROM snapshot_means
    WHERE last_id > :after {_RANGE.format("at")} ORDER BY last_id
"""  # noqa: S608
_ENTRIES = f"""
    SELECT {", ".join(_AUDIT)} FROM audit WHERE id > :after {_RANGE.format("at")} ORDER BY id
"""  # noqa: S608
_DELIVERY = """
    d.id AS delivery, d.delivery_id, n.notification_id, n.at AS created_at, d.expires_at, n.type,
    n.template, n.content, n.sender, n.organization_id, d.channel, d.user_id, d.state, d.reason,
    CASE d.state WHEN 'pending' THEN d.due_at END AS next_attempt_at, d.sent_at, d.acknowledged_at,
    d.unless_acknowledged
"""
_ACCEPTED = f"""
    SELECT d.id AS position, {_DELIVERY}
    FROM deliveries d CROSS JOIN notifications n ON n.id = d.notification
    WHERE d.id > :after {_RANGE.format("n.at")} ORDER BY d.id
"""  # noqa: S608
_SETTLED = f"""
    SELECT o.id AS position, {_DELIVERY}
    FROM outcomes o CROSS JOIN deliveries d ON d.id = o.delivery
    CROSS JOIN notifications n ON n.id = d.notification
    WHERE o.id > :after {_RANGE.format("n.at")} ORDER BY o.id
"""  # noqa: S608
_ATTEMPTS = """
    SELECT delivery, at, outcome, detail FROM attempts
    WHERE delivery IN (SELECT value FROM json_each(?)) ORDER BY delivery, number
"""
_USAGE_COLUMNS = (
    "at, scope, unit, amount / 1000000.0 AS amount, cost / 1000000.0 AS cost, source, session_id,"
    " message_id, reported_by"
)
_USAGE = f"""
    SELECT id, {_USAGE_COLUMNS} FROM quota_usage
    WHERE id > :after {_RANGE.format("at")} ORDER BY id
"""  # noqa: S608
_END = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_TABLES = {"stats": "snapshots", "audit": "audit", "usage": "quota_usage"}


class DatabaseReader:
    """Reads rows within one open transaction of the connection."""

    def __init__(self, database: sqlite3.Connection, wanted: Wanted) -> None:
        self._database = database
        self._wanted = wanted
        epoch = _scalar(database, "SELECT value FROM meta WHERE key = 'export_epoch'")
        if epoch is None:
            raise Failed(
                "the database was written by an older server: start the current server on it once"
            )
        self.epoch: str = epoch
        self.end = self._end()
        self.position = wanted.after

    def _end(self) -> int:
        if self._wanted.kind == "notifications" and not self._wanted.is_settled:
            return _scalar(self._database, "SELECT max(id) FROM deliveries") or 0
        table = _TABLES.get(self._wanted.kind, "outcomes")
        return _scalar(self._database, _END, table) or 0

    def rows(self) -> Iterator[Numbered]:
        """The rows, ordered by position."""
        yield from _READERS[self._wanted.kind](self._database, self._wanted)
        self.position = max(self.end, self._wanted.after)


def _scalar(database: sqlite3.Connection, sql: str, *values: str) -> Any:
    row = database.execute(sql, values).fetchone()
    return None if row is None else row[0]


def _limits(wanted: Wanted) -> dict[str, Any]:
    return {"after": wanted.after, "since": wanted.since, "until": wanted.until}


def _snapshots(database: sqlite3.Connection, wanted: Wanted) -> Iterator[Numbered]:
    both = (database.execute(source, _limits(wanted)) for source in (_RAW, _MEANS))
    for id, *row in heapq.merge(*both, key=lambda row: row[0]):
        yield id, as_snapshot(row)


def _entries(database: sqlite3.Connection, wanted: Wanted) -> Iterator[Numbered]:
    for values in database.execute(_ENTRIES, _limits(wanted)):
        entry = dict(zip(_AUDIT, values, strict=True))
        detail = json.loads(entry["detail"])
        yield entry["id"], {**entry, "at": rfc3339(entry["at"]), "detail": detail}


def _deliveries(database: sqlite3.Connection, wanted: Wanted) -> Iterator[Numbered]:
    sql = _SETTLED if wanted.is_settled else _ACCEPTED
    if "reason" not in [name for _, name, *_ in database.execute("PRAGMA table_info(deliveries)")]:
        sql = sql.replace("d.reason", "NULL AS reason")  # of an older server
    cursor = database.execute(sql, _limits(wanted))
    names = [name for name, *_ in cursor.description]
    while rows := cursor.fetchmany(_AT_ONCE):
        found = [dict(zip(names, row, strict=True)) for row in rows]
        attempts: dict[int, list[Row]] = {}
        ids = json.dumps([row["delivery"] for row in found])
        for delivery, at, outcome, detail in database.execute(_ATTEMPTS, [ids]):
            attempt = {"at": rfc3339(at), "outcome": outcome, "detail": detail}
            attempts.setdefault(delivery, []).append(attempt)
        for row in found:
            yield row.pop("position"), _as_delivery(row, attempts.get(row.pop("delivery"), []))


def _reports(database: sqlite3.Connection, wanted: Wanted) -> Iterator[Numbered]:
    """Reports of usage; none in a database of a server without quotas."""
    if _scalar(database, "SELECT 1 FROM sqlite_schema WHERE name = 'quota_usage'") is None:
        return
    cursor = database.execute(_USAGE, _limits(wanted))
    names = [name for name, *_ in cursor.description]
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        numbers = {name: _number(row[name]) for name in ("amount", "cost")}
        yield row.pop("id"), {**row, **numbers, "at": rfc3339(row["at"])}


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _as_delivery(row: Row, attempts: list[Row]) -> Row:
    for name in _TIMES:
        if row[name] is not None:
            row[name] = rfc3339(row[name])
    content = json.loads(row.pop("content"))
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


_READERS: dict[str, Callable[[sqlite3.Connection, Wanted], Iterator[Numbered]]] = {
    "stats": _snapshots,
    "audit": _entries,
    "notifications": _deliveries,
    "usage": _reports,
}
