"""Stored snapshots from the API, or from the database file while the server is down."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsctl.errors import Failed
from wsctl.http.client import PAGE, Client, member
from wsctl.output.stats_fields import TEN
from wsctl.snapshots.database import read_database
from wsctl.snapshots.steps import LastPerStep
from wsctl.times import epoch, milliseconds, rfc3339

Snapshot = dict[str, Any]

_API_PATIENCE_S = 30.0
_COLUMNS = ", ".join(TEN)
_RAW = f"""
    SELECT at, node, sequence, 1, {_COLUMNS}, extra
    FROM snapshots WHERE at >= :since AND at < :until ORDER BY at, node, sequence
"""  # noqa: S608 - constants only
_MEANS = f"""
    SELECT at, node, NULL, samples, {_COLUMNS}, extra
    FROM snapshot_means WHERE at >= :since AND at < :until ORDER BY at, node
"""  # noqa: S608 - constants only
_COUNT = """
    SELECT (SELECT count(*) FROM snapshots WHERE at >= :since AND at < :until)
        + (SELECT count(*) FROM snapshot_means WHERE at >= :since AND at < :until)
"""

OnTotal = Callable[[int], object]
"""Called with the number of rows to expect."""


@dataclass(frozen=True)
class Range:
    """Time range of snapshots: ``since`` <= timestamp < ``until``, seconds since the epoch.

    ``step_s``: only the last snapshot of each step and node; steps are counted from the epoch.
    """

    since: float
    until: float
    step_s: int | None = None


def from_api(client: Client, wanted: Range, on_total: OnTotal | None = None) -> Iterator[Snapshot]:
    """Snapshots from a running server, oldest first, page by page.

    Each request has the time range, so that servers without cursors work too.
    """
    since, cursor, edge = wanted.since, None, set[str]()
    while True:
        query = {
            "since": rfc3339(since),
            "until": rfc3339(wanted.until),
            "step": None if wanted.step_s is None else f"{wanted.step_s}s",
            "limit": PAGE,
            "cursor": cursor,
        }
        page = client.get("/stats/history", query, patience_s=_API_PATIENCE_S)
        rows: list[Snapshot] = member(page, "snapshots", list)
        if on_total is not None and isinstance(page.get("total"), int):
            on_total(page["total"])
            on_total = None
        yield from (_with_time(row) for row in rows if json.dumps(row) not in edge)
        previous, cursor = cursor, page.get("next_cursor")
        if cursor is not None and cursor != previous:
            continue
        if "next_cursor" in page or len(rows) < PAGE:
            return
        # A full page without a cursor: go on from the last moment, without the rows already seen.
        last = rows[-1].get("timestamp")
        edge = {json.dumps(row) for row in rows if row.get("timestamp") == last}
        following = seconds_of(last)
        if following is None or following <= since:
            raise Failed("the server's history does not advance")
        since = following


def _with_time(row: Snapshot) -> Snapshot:
    moment = row.get("timestamp")
    return {**row, "timestamp": rfc3339(moment)} if isinstance(moment, int | float) else row


def seconds_of(value: Any) -> float | None:
    """Seconds since the epoch of a snapshot's timestamp, cut to milliseconds as the API does."""
    seconds = epoch(value)
    return None if seconds is None else milliseconds(seconds) / 1000


def from_database(path: Path, wanted: Range, on_total: OnTotal | None = None) -> Iterator[Snapshot]:
    """Snapshots from the server's SQLite file, oldest first."""
    with read_database(path, "statistics") as database:
        limits = {"since": wanted.since, "until": wanted.until}
        if on_total is not None and wanted.step_s is None:
            on_total(*database.execute(_COUNT, limits).fetchone())
        # Two queries in index order: SQLite would sort a union on the disk.
        rows: Iterator[Any] = heapq.merge(
            *(database.execute(source, limits) for source in (_RAW, _MEANS)), key=_place
        )
        if wanted.step_s is not None:
            steps = LastPerStep[Any](
                wanted.step_s,
                moment=lambda row: float(row[0]),
                group=lambda row: row[1],
                keeps_open=False,
            )
            rows = steps.of(rows)
        yield from map(as_snapshot, rows)


def _place(row: Sequence[Any]) -> tuple[Any, ...]:
    return row[0], row[1], -1 if row[2] is None else row[2]


def as_snapshot(row: Sequence[Any]) -> Snapshot:
    """A row (time, node, sequence, samples, the ten fields, extra JSON) as the API returns it."""
    at, node, sequence, samples, *values, extra = row
    return {
        "timestamp": rfc3339(at),
        "node": node,
        **dict(zip(TEN, values, strict=True)),
        "sequence": sequence,
        "samples": samples,
        **json.loads(extra),
    }
