"""The statistics' history: raw snapshots for the retention, hourly means for a year."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from heapq import merge
from itertools import islice
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlite_utils

from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.hourly_rollup import FIELDS, HourSums, hour_of, sum_by_hour

MEANS_KEPT_DAYS = 366
DAY_S = 86_400

_BATCH_ROWS = 300
_COLUMNS = ", ".join(FIELDS)
_KEY = ("timestamp", "node", "sequence")
_INSERT = (
    f"INSERT INTO snapshots (at, node, sequence, {_COLUMNS}, extra)"  # noqa: S608
    f" VALUES (?, ?, ?, {', '.join('?' * len(FIELDS))}, ?)"
    " ON CONFLICT (at, node, sequence) DO NOTHING"
)
_INSERT_HOUR = (
    f"INSERT OR REPLACE INTO snapshot_hours (hour, node, samples, {_COLUMNS}, extra, last_id)"  # noqa: S608
    f" VALUES (?, ?, ?, {', '.join('?' * len(FIELDS))}, ?, ?)"
)
_RANGE = "at >= :since AND at < :until"
_RAW = f"""
    SELECT at, node, sequence, 1 AS samples, {_COLUMNS}, extra FROM snapshots WHERE {_RANGE}
"""  # noqa: S608
_MEANS = f"""
    SELECT at, node, -1 AS sequence, samples, {_COLUMNS}, extra FROM snapshot_means WHERE {_RANGE}
"""  # noqa: S608
# With max() in the list, SQLite takes the other columns from the row that has the maximum.
_LAST_OF_STEP = f"""
    SELECT max(at) AS at, node, sequence, samples, {_COLUMNS}, extra
    FROM ({_RAW} UNION ALL {_MEANS}) GROUP BY node, CAST(at / :step AS INTEGER)
"""  # noqa: S608
_FIRST = f"""
    SELECT min(at) FROM (
        SELECT min(at) AS at FROM snapshots WHERE {_RANGE}
        UNION ALL
        SELECT min(hour) FROM snapshot_hours WHERE {_RANGE.replace("at", "hour")}
    )
"""  # noqa: S608
_COUNT = f"""
    SELECT (SELECT count(*) FROM snapshots WHERE {_RANGE})
        + (SELECT count(*) FROM snapshot_hours WHERE {_RANGE.replace("at", "hour")})
"""  # noqa: S608
_COUNT_STEPS = f"""
    SELECT count(*) FROM (
        SELECT DISTINCT node, CAST(at / :step AS INTEGER) FROM (
            SELECT at, node FROM snapshots WHERE {_RANGE}
            UNION ALL
            SELECT hour, node FROM snapshot_hours WHERE {_RANGE.replace("at", "hour")}
        )
    )
"""  # noqa: S608


class Place(NamedTuple):
    """Where a snapshot stands in the order of the history."""

    at: Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
    node: str
    sequence: Annotated[int, msgspec.Meta(ge=-1, le=LARGEST_INT)]
    total: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]
    """Of the whole list: counted for the first page, as counting costs what there is."""


class _Wanted(NamedTuple):
    """A page of the history."""

    since: float
    until: float
    step: float | None
    after: Place | None

    @property
    def start(self) -> float:
        """Before it there is nothing on the page."""
        return self.since if self.after is None else max(self.since, self.after.at)

    @property
    def later(self) -> str:
        """The condition that keeps to what the pages before have not shown."""
        return "" if self.after is None else " AND (at, node, sequence) > (:at, :node, :sequence)"

    def parameters(self, **more: float) -> dict[str, Any]:
        """What the statements are given."""
        place = {} if self.after is None else self.after._asdict()
        wanted = {"since": self.start, "until": self.until, "step": self.step}
        return {**place, **wanted, **more}


class Pruned(NamedTuple):
    """What a run of ``prune`` did."""

    averaged: int
    """Raw snapshots that became part of an hourly mean."""
    dropped: int
    """Hourly means that were older than a year."""


class Snapshots:
    """The tables ``snapshots`` and ``snapshot_hours``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, snapshot: Mapping[str, Any]) -> None:
        """Store a snapshot.

        It is flat: ``timestamp`` (seconds since the epoch), ``node``, ``sequence`` (≥ 0), the ten
        ``FIELDS`` (integers), and any further entries that JSON can carry. The same (timestamp,
        node, sequence) again is left out, so that a retry adds nothing.
        Raises ``StorageUnavailable``, ``StorageFull``, ``KeyError`` for a field that is missing.
        """
        extra = {
            name: _finite(value)
            for name, value in snapshot.items()
            if name not in FIELDS and name not in _KEY
        }
        values = (
            snapshot["timestamp"],
            snapshot["node"],
            snapshot["sequence"],
            *(snapshot[name] for name in FIELDS),
            json.dumps(extra, ensure_ascii=False, allow_nan=False),
        )

        def insert(db: sqlite_utils.Database) -> None:
            db.execute(_INSERT, values)

        await self._database.run(insert)

    async def history(
        self,
        since: float,
        until: float,
        *,
        step_s: float | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Page[dict[str, Any]]:
        """Snapshots with ``since`` <= timestamp < ``until`` (seconds since the epoch), oldest
        first, each with what ``add`` was given and ``samples``.

        What has left the retention is answered by hourly means of all numbers (counters too): the
        timestamp is the hour's start, ``sequence`` None, ``samples`` how many were averaged.
        ``step_s`` keeps, for each node, the last snapshot of each step; steps are counted from
        the epoch, so that repeated questions cut time alike. ``limit`` and ``cursor`` page.
        Raises ``BadRequest`` for a cursor that is none.
        """
        after = None if cursor is None else decode_cursor(cursor, Place)
        wanted = _Wanted(since, until, step_s, after)

        def select(db: sqlite_utils.Database) -> tuple[list[Any], int]:
            total = _count(db, wanted) if after is None else after.total
            if step_s is None:
                return _rows(db, wanted, limit + 1), total
            return _steps(db, wanted, step_s, limit + 1), total

        rows, total = await self._database.read(select)
        more = len(rows) > limit
        rows = rows[:limit]
        next_cursor = None
        if more:
            at, node, sequence = rows[-1][:3]
            next_cursor = encode_cursor(Place(at, node, sequence, total))
        return Page([_as_snapshot(row) for row in rows], total, next_cursor)

    async def prune(self, now: float, retention_days: float) -> Pruned:
        """Turn raw snapshots older than the retention into hourly means, drop means of over a year.

        Whole hours only. In batches of 300 rows, each its own job, so that other writes pass in
        between; a batch adds its rows to the sums and deletes them in one step, so that the next
        run just continues an interrupted one. Raises ``StorageUnavailable``, ``StorageFull``.
        """
        oldest_raw = hour_of(now - retention_days * DAY_S)
        oldest_mean = hour_of(now - MEANS_KEPT_DAYS * DAY_S)
        averaged = dropped = 0
        while batch := await self._database.run(lambda db: _average_batch(db, oldest_raw)):
            averaged += batch
        while batch := await self._database.run(lambda db: _drop_batch(db, oldest_mean)):
            dropped += batch
        return Pruned(averaged, dropped)


def _count(db: sqlite_utils.Database, wanted: _Wanted) -> int:
    sql = _COUNT if wanted.step is None else _COUNT_STEPS
    total: int = db.execute(sql, wanted.parameters()).fetchone()[0]
    return total


def _rows(db: sqlite_utils.Database, wanted: _Wanted, limit: int) -> list[Any]:
    """Both tables in the order of their keys, so that a page costs what is on it."""
    parts = (
        db.execute(
            f"{source}{wanted.later} ORDER BY at, node, sequence LIMIT :limit",
            wanted.parameters(limit=limit),
        ).fetchall()
        for source in (_RAW, _MEANS)
    )
    return list(islice(merge(*parts, key=lambda row: row[:3]), limit))


def _steps(db: sqlite_utils.Database, wanted: _Wanted, step: float, limit: int) -> list[Any]:
    """Window after window until there are enough: a page must not group all that follows."""
    rows = list[Any]()
    # A step that has begun before the page is looked at from its beginning.
    since = max(wanted.since, wanted.start // step * step)
    while len(rows) < limit and since < wanted.until:
        (first,) = db.execute(_FIRST, wanted.parameters(since=since)).fetchone()
        if first is None:
            break
        since = max(since, first // step * step)
        end = min(wanted.until, (since // step + limit) * step)
        rows += db.execute(
            f"SELECT * FROM ({_LAST_OF_STEP}) WHERE 1 {wanted.later}"  # noqa: S608
            " ORDER BY at, node, sequence LIMIT :limit",
            wanted.parameters(since=since, until=end, limit=limit - len(rows)),
        ).fetchall()
        since = end
    return rows


def _average_batch(db: sqlite_utils.Database, before: int) -> int:
    rows = db.execute(
        f"SELECT id, at, node, {_COLUMNS}, extra FROM snapshots WHERE at < ?"  # noqa: S608
        " ORDER BY at, node, sequence LIMIT ?",
        [before, _BATCH_ROWS],
    ).fetchall()
    if not rows:
        return 0
    sums = sum_by_hour((*row[:3], row[3:-1], json.loads(row[-1])) for row in rows)
    for (hour, node), added in sums.items():
        stored = _stored_sums(db, hour, node)
        stored.merge(added)
        db.execute(
            _INSERT_HOUR,
            (
                hour,
                node,
                stored.samples,
                *stored.totals,
                json.dumps(stored.extra),
                stored.last_id,
            ),
        )
    db.conn.executemany("DELETE FROM snapshots WHERE id = ?", [row[:1] for row in rows])
    return len(rows)


def _stored_sums(db: sqlite_utils.Database, hour: int, node: str) -> HourSums:
    row = db.execute(
        f"SELECT samples, {_COLUMNS}, extra, last_id FROM snapshot_hours"  # noqa: S608
        " WHERE hour = ? AND node = ?",
        [hour, node],
    ).fetchone()
    if row is None:
        return HourSums()
    extra = {name: (total, count) for name, (total, count) in json.loads(row[-2]).items()}
    return HourSums(row[0], list(row[1:-2]), extra, row[-1])


def _drop_batch(db: sqlite_utils.Database, before: int) -> int:
    return db.execute(
        "DELETE FROM snapshot_hours WHERE (hour, node) IN"
        " (SELECT hour, node FROM snapshot_hours WHERE hour < ? ORDER BY hour LIMIT ?)",
        [before, _BATCH_ROWS],
    ).rowcount


def _as_snapshot(row: tuple[Any, ...]) -> dict[str, Any]:
    at, node, sequence, samples = row[:4]
    return {
        "timestamp": at,
        "node": node,
        "sequence": None if sequence < 0 else sequence,
        **dict(zip(FIELDS, row[4:-1], strict=True)),
        **json.loads(row[-1]),
        "samples": samples,
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
