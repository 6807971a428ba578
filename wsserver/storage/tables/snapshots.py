"""History of the statistics: raw snapshots for the retention, hourly means for a year.

An hour is stored as sums and counts, which add up exactly however the rows are cut into batches;
means of means would not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import Annotated, Any, NamedTuple

import msgspec

from wsserver.paging import LARGEST_INT, Page, decode_cursor, encode_cursor
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sql_leases import Fence

FIELDS = (
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
)
"""The ten numbers of a snapshot, in the order of the columns."""
MEANS_KEPT_DAYS = 366
DAY_S = 86_400
HOUR_S = 3600

_BATCH_ROWS = 300
_COLUMNS = ", ".join(FIELDS)
_KEY = ("timestamp", "node", "sequence")
_INSERT = (
    f"INSERT INTO snapshots (at, node, sequence, {_COLUMNS}, extra)"  # noqa: S608
    f" VALUES (?, ?, ?, {', '.join('?' * len(FIELDS))}, ?)"
    " ON CONFLICT (at, node, sequence) DO NOTHING"
)
_LAST = "SELECT at, sequence FROM snapshots ORDER BY id DESC LIMIT 1"
_INSERT_HOUR = (
    f"INSERT INTO snapshot_hours (hour, node, samples, {_COLUMNS}, extra, last_id)"  # noqa: S608
    f" VALUES (?, ?, ?, {', '.join('?' * len(FIELDS))}, ?, ?)"
    " ON CONFLICT (hour, node) DO UPDATE SET"
    f" {', '.join(f'{c} = excluded.{c}' for c in ('samples', *FIELDS, 'extra', 'last_id'))}"
)
_RANGE = "at >= :since AND at < :until"
_RAW = f"""
    SELECT at, node, sequence, 1 AS samples, {_COLUMNS}, extra FROM snapshots WHERE {_RANGE}
"""  # noqa: S608
_MEANS = f"""
    SELECT at, node, -1 AS sequence, samples, {_COLUMNS}, extra FROM snapshot_means WHERE {_RANGE}
"""  # noqa: S608
_LAST_OF_STEP = f"""
    SELECT at, node, sequence, samples, {_COLUMNS}, extra FROM (
        SELECT *, row_number() OVER (
            PARTITION BY node, CAST(at / :step AS INTEGER) ORDER BY at DESC, sequence DESC
        ) AS place
        FROM ({_RAW} UNION ALL {_MEANS}) AS history
    ) AS placed WHERE place = 1
"""  # noqa: S608
_FIRST = f"""
    SELECT min(at) FROM (
        SELECT min(at) AS at FROM snapshots WHERE {_RANGE}
        UNION ALL
        SELECT min(hour) FROM snapshot_hours WHERE {_RANGE.replace("at", "hour")}
    ) AS ends
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
        ) AS history
    ) AS steps
"""  # noqa: S608


class SnapshotCursor(NamedTuple):
    """Cursor of a page: position of its last snapshot in the history."""

    at: Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
    node: str
    sequence: Annotated[int, msgspec.Meta(ge=-1, le=LARGEST_INT)]
    total: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]
    """Of the whole list; counted for the first page only, as counting reads all of it."""


class _HistoryQuery(NamedTuple):
    """The page of the history that is read."""

    since: float
    until: float
    step: float | None
    after: SnapshotCursor | None

    @property
    def start(self) -> float:
        """No snapshot of the page is older."""
        return self.since if self.after is None else max(self.since, self.after.at)

    @property
    def later(self) -> str:
        """The condition that leaves out earlier pages."""
        return "" if self.after is None else " AND (at, node, sequence) > (:at, :node, :sequence)"

    def parameters(self, **more: float) -> dict[str, Any]:
        """Parameters of the statements."""
        place = {} if self.after is None else self.after._asdict()
        wanted = {"since": self.start, "until": self.until, "step": self.step}
        return {**place, **wanted, **more}


class PrunedSnapshots(NamedTuple):
    """Counts of one run of ``prune``."""

    averaged: int
    """Raw snapshots added to an hourly mean, and deleted."""
    dropped: int
    """Hourly means deleted because they were older than a year."""


class Snapshots:
    """The tables ``snapshots`` and ``snapshot_hours``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, snapshot: Mapping[str, Any], fence: Fence | None = None, *, not_within_s: float = 0.0
    ) -> int | None:
        """Store a snapshot; returns its sequence number, or None for one that was left out.

        A flat mapping: ``timestamp`` (seconds since the epoch), ``node``, ``sequence`` (≥ 0; by
        default the one after the latest), the ten ``FIELDS`` (integers), and any further entries
        that can be JSON. One with a stored (timestamp, node, sequence) is ignored, so that a retry
        adds nothing; so is one less than ``not_within_s`` after the latest, which another process
        has taken. Raises ``LeaseLost``, ``StorageUnavailable``, ``StorageFull``, ``KeyError`` for
        a missing field.
        """
        extra = {
            name: _finite(value)
            for name, value in snapshot.items()
            if name not in FIELDS and name not in _KEY
        }
        at, node = snapshot["timestamp"], snapshot["node"]
        values = (
            *(snapshot[name] for name in FIELDS),
            json.dumps(extra, ensure_ascii=False, allow_nan=False),
        )

        def insert(db: Connection) -> int | None:
            if fence is not None:
                fence.require(db)
            last_at, last = db.execute(_LAST).fetchone() or (-math.inf, 0)
            if last_at <= at < last_at + not_within_s:
                return None
            number: int = snapshot.get("sequence", last + 1)
            db.execute(_INSERT, [at, node, number, *values])
            return number

        return await self._database.run(insert)

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
        first: the entries passed to ``add``, and ``samples``.

        Beyond the retention these are hourly means of all numbers (counters too): the timestamp is
        the start of the hour, ``sequence`` None, ``samples`` the number of averaged snapshots.
        ``step_s``: only the last snapshot of each step and node; steps are counted from the epoch,
        so that they are the same for every query. Raises ``BadRequest`` for an invalid cursor.
        """
        after = None if cursor is None else decode_cursor(cursor, SnapshotCursor)
        wanted = _HistoryQuery(since, until, step_s, after)

        def select(db: Connection) -> tuple[list[Any], int]:
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
            next_cursor = encode_cursor(SnapshotCursor(at, node, sequence, total))
        return Page([_as_snapshot(row) for row in rows], total, next_cursor)

    async def prune(
        self, now: float, retention_days: float, fence: Fence | None = None
    ) -> PrunedSnapshots:
        """Average raw snapshots older than the retention by hour, drop means over a year old.

        Whole hours only. In batches of 300 rows, each its own job, so that other writes run in
        between; a batch adds its rows to the sums and deletes them in one transaction, so that the
        next run continues an interrupted one. Raises ``LeaseLost``, ``StorageUnavailable``,
        ``StorageFull``.
        """

        def fenced(batch: Callable[[Connection, int], int], before: int) -> Awaitable[int]:
            def job(db: Connection) -> int:
                if fence is not None:
                    fence.require(db)
                return batch(db, before)

            return self._database.run(job)

        oldest_raw = hour_of(now - retention_days * DAY_S)
        oldest_mean = hour_of(now - MEANS_KEPT_DAYS * DAY_S)
        averaged = dropped = 0
        while batch := await fenced(_average_batch, oldest_raw):
            averaged += batch
        while batch := await fenced(_drop_batch, oldest_mean):
            dropped += batch
        return PrunedSnapshots(averaged, dropped)


def _count(db: Connection, wanted: _HistoryQuery) -> int:
    sql = _COUNT if wanted.step is None else _COUNT_STEPS
    total: int = db.execute(sql, wanted.parameters()).fetchone()[0]
    return total


def _rows(db: Connection, wanted: _HistoryQuery, limit: int) -> list[Any]:
    """Rows of both tables, read by their keys: the cost does not depend on how much is stored."""
    parts = (
        db.execute(
            f"SELECT * FROM ({source}) AS history WHERE TRUE{wanted.later}"  # noqa: S608
            " ORDER BY at, node, sequence LIMIT :limit",
            wanted.parameters(limit=limit),
        ).fetchall()
        for source in (_RAW, _MEANS)
    )
    return list(islice(merge(*parts, key=lambda row: row[:3]), limit))


def _steps(db: Connection, wanted: _HistoryQuery, step: float, limit: int) -> list[Any]:
    """Rows of steps, read range by range: a page must not group all that follows it."""
    rows = list[Any]()
    # A step that begins before the page is read from its beginning.
    since = max(wanted.since, wanted.start // step * step)
    while len(rows) < limit and since < wanted.until:
        (first,) = db.execute(_FIRST, wanted.parameters(since=since)).fetchone()
        if first is None:
            break
        since = max(since, first // step * step)
        end = min(wanted.until, (since // step + limit) * step)
        rows += db.execute(
            f"SELECT * FROM ({_LAST_OF_STEP}) AS steps WHERE TRUE {wanted.later}"  # noqa: S608
            " ORDER BY at, node, sequence LIMIT :limit",
            wanted.parameters(since=since, until=end, limit=limit - len(rows)),
        ).fetchall()
        since = end
    return rows


def _average_batch(db: Connection, before: int) -> int:
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
    db.executemany("DELETE FROM snapshots WHERE id = ?", [row[:1] for row in rows])
    return len(rows)


def _stored_sums(db: Connection, hour: int, node: str) -> HourSums:
    row = db.execute(
        f"SELECT samples, {_COLUMNS}, extra, last_id FROM snapshot_hours"  # noqa: S608
        " WHERE hour = ? AND node = ?",
        [hour, node],
    ).fetchone()
    if row is None:
        return HourSums()
    extra = {name: (total, count) for name, (total, count) in json.loads(row[-2]).items()}
    return HourSums(row[0], list(row[1:-2]), extra, row[-1])


def _drop_batch(db: Connection, before: int) -> int:
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
    """The value, or None for infinity and NaN, which JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(slots=True)
class HourSums:
    """Sums of the snapshots of one node in one hour."""

    samples: int = 0
    totals: list[int] = field(default_factory=lambda: [0] * len(FIELDS))
    """One sum for each of ``FIELDS``."""
    extra: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Sum and count of each further number, which some snapshots may lack."""
    last_id: int = 0
    """Highest id of the snapshots in the sums."""

    def add(self, id: int, values: Iterable[int], extra: Mapping[str, Any]) -> None:
        """Add one snapshot: its id, the values of ``FIELDS`` and the further entries.

        Of the further entries only numbers are summed; texts, booleans, nulls and nested values
        are ignored.
        """
        self.samples += 1
        self.last_id = max(self.last_id, id)
        self.totals = [total + value for total, value in zip(self.totals, values, strict=True)]
        for name, value in extra.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                total, count = self.extra.get(name, (0, 0))
                self.extra[name] = (total + value, count + 1)

    def merge(self, other: HourSums) -> None:
        """Add the sums of other snapshots of the same hour and node."""
        self.samples += other.samples
        self.last_id = max(self.last_id, other.last_id)
        self.totals = [mine + its for mine, its in zip(self.totals, other.totals, strict=True)]
        for name, (its_total, its_count) in other.extra.items():
            total, count = self.extra.get(name, (0, 0))
            self.extra[name] = (total + its_total, count + its_count)


def hour_of(at: float) -> int:
    """Start of the hour (UTC) of a time; seconds since the epoch."""
    return int(at // HOUR_S) * HOUR_S


def sum_by_hour(
    rows: Iterable[tuple[int, float, str, Iterable[int], Mapping[str, Any]]],
) -> dict[tuple[int, str], HourSums]:
    """Sum rows of (id, time, node, values of ``FIELDS``, extra) by hour and node."""
    sums: dict[tuple[int, str], HourSums] = {}
    for id, at, node, values, extra in rows:
        sums.setdefault((hour_of(at), node), HourSums()).add(id, values, extra)
    return sums
