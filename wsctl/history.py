"""Where stored snapshots come from: the API, or the database file while the server is down."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsctl.client import PAGE, Client, member
from wsctl.exits import Failed
from wsctl.fields import TEN
from wsctl.times import rfc3339

Snapshot = dict[str, Any]

_API_PATIENCE_S = 30.0
_LOCK_PATIENCE_S = 5.0
_COLUMNS = ", ".join(TEN)
_ROWS = f"""
    SELECT at, node, sequence, 1 AS samples, {_COLUMNS}, extra
    FROM snapshots WHERE at >= :since AND at < :until
    UNION ALL
    SELECT at, node, NULL AS sequence, samples, {_COLUMNS}, extra
    FROM snapshot_means WHERE at >= :since AND at < :until
"""  # noqa: S608 - constants only
# With max() in the list, SQLite takes the other columns from the row that has the maximum.
_LAST_OF_STEP = f"""
    SELECT max(at) AS at, node, sequence, samples, {_COLUMNS}, extra
    FROM ({_ROWS}) GROUP BY node, CAST(at / :step AS INTEGER)
"""  # noqa: S608 - constants only


@dataclass(frozen=True)
class Range:
    """Which snapshots: ``since`` <= timestamp < ``until``, seconds since the epoch.

    ``step_s``: only the last snapshot of each step and node; steps are counted from the epoch.
    """

    since: float
    until: float
    step_s: int | None = None


def from_api(client: Client, wanted: Range) -> Iterator[Snapshot]:
    """Snapshots from a running server, oldest first, page by page.

    Each page is asked for with the time range, so a server without cursors is followed by time.
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
        yield from (_with_time(row) for row in rows if json.dumps(row) not in edge)
        previous, cursor = cursor, page.get("next_cursor")
        if cursor is not None and cursor != previous:
            continue
        if "next_cursor" in page or len(rows) < PAGE:
            return
        # A full page and no word of a next one: go on from the last moment, leaving out what
        # has been seen of that moment.
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
    """Seconds since the epoch of a snapshot's timestamp, floored to the API's milliseconds."""
    from wsctl.times import epoch

    seconds = epoch(value)
    return None if seconds is None else int(seconds * 1000) / 1000


def from_database(path: Path, wanted: Range) -> Iterator[Snapshot]:
    """Snapshots from the server's SQLite file, oldest first; nothing is ever written to it."""
    is_immutable = not _log_of(path).exists()
    with contextlib.closing(_open(path, is_immutable)) as database:
        parameters = {"since": wanted.since, "until": wanted.until, "step": wanted.step_s}
        source = _ROWS if wanted.step_s is None else _LAST_OF_STEP
        try:
            rows = database.execute(
                f"SELECT * FROM ({source}) ORDER BY at, node, sequence",  # noqa: S608
                parameters,
            )
            for at, node, sequence, samples, *values, extra in rows:
                yield {
                    "timestamp": rfc3339(at),
                    "node": node,
                    **dict(zip(TEN, values, strict=True)),
                    "sequence": sequence,
                    "samples": samples,
                    **json.loads(extra),
                }
        except sqlite3.Error as error:
            raise Failed(f"cannot read statistics from {path}: {error}") from None
    if is_immutable and _log_of(path).exists():
        # What was read may be torn; the caller has written nothing yet.
        raise Failed(f"a server has opened {path} meanwhile: run it again")


def _open(path: Path, is_immutable: bool) -> sqlite3.Connection:
    """A connection that leaves no trace beside the file.

    Without a write-ahead log nobody has the file open, and it is read as immutable: a read-only
    connection would otherwise leave ``-wal`` and ``-shm`` files of *this* user behind, which
    could keep the server, running as another user, from starting.
    """
    if not path.is_file():
        raise Failed(f"cannot read {path}: no such file")
    mode = "mode=ro&immutable=1" if is_immutable else "mode=ro"
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_LOCK_PATIENCE_S
        )
    except sqlite3.Error as error:
        raise Failed(f"cannot read {path}: {error}") from None


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
