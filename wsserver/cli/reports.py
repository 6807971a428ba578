"""Reports of the ``db`` commands, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from wsserver.clock import rfc3339
from wsserver.storage.maintenance.backup import Backup
from wsserver.storage.maintenance.database_report import DatabaseReport
from wsserver.storage.maintenance.pruning import PruneResult

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def of_inspection(found: DatabaseReport) -> dict[str, Any]:
    """As JSON carries it: times in RFC 3339."""
    document: dict[str, Any] = msgspec.to_builtins(found)
    document["checked_at"] = _time(found.checked_at)
    for part in (document, *document["tables"]):
        for name in ("oldest", "newest"):
            part[name] = None if part[name] is None else _time(part[name])
    return document


def inspection_text(found: DatabaseReport) -> str:
    """Lines for a terminal."""
    depth = "every page" if found.check == "quick" else "every page and index"
    facts = [
        ("database", found.database),
        ("state", f"well ({depth} looked at)" if found.ok else "NOT WELL"),
        *(("problem", problem) for problem in found.problems),
        *([("remedy", found.remedy)] if found.remedy else []),
        *(("warning", warning) for warning in found.warnings),
    ]
    if found.schema_version is not None:
        facts.append(("schema", f"{found.schema_version} ({found.schema})"))
    if found.file_bytes:
        facts += [
            ("size", f"{size(found.file_bytes)}, {size(found.unused_bytes)} of it unused"),
            ("log", f"{size(found.wal_bytes)} (write-ahead log)"),
        ]
    if found.disk_free_bytes is not None:
        facts.append(("disk", f"{size(found.disk_free_bytes)} free"))
    if found.oldest is not None and found.newest is not None:
        oldest, newest = (_age(found.checked_at - at) for at in (found.oldest, found.newest))
        facts += [
            ("oldest", f"{_time(found.oldest)} ({oldest} ago)"),
            ("newest", f"{_time(found.newest)} ({newest} ago)"),
        ]
    lines = [f"{name:10}{text}" for name, text in facts]
    if found.tables:
        lines += ["", *_table(found)]
    return "\n".join(lines)


def _table(found: DatabaseReport) -> list[str]:
    rows = [
        (
            table.name,
            str(table.rows),
            "-" if table.bytes is None else size(table.bytes),
            "-" if table.oldest is None else _time(table.oldest),
            "-" if table.newest is None else _time(table.newest),
        )
        for table in found.tables
    ]
    return _columns([("table", "rows", "size", "oldest", "newest"), *rows], right={1, 2})


def of_backup(made: Backup) -> dict[str, Any]:
    """As JSON carries it."""
    return {"path": str(made.path), "bytes": made.bytes, "took_s": round(made.took_s, 3)}


def backup_text(made: Backup) -> str:
    """One line for a terminal."""
    return f"{made.path}: {size(made.bytes)} in {made.took_s:.1f} s, checked"


def of_pruning(done: PruneResult) -> dict[str, Any]:
    """As JSON carries it."""
    return {**done._asdict(), "bytes_given_back": done.bytes_before - done.bytes_after}


def pruning_text(done: PruneResult) -> str:
    """Lines for a terminal."""
    rows = [(name, str(count)) for name, count in done.deleted.items()]
    given_back = max(0, done.bytes_before - done.bytes_after)
    return "\n".join(
        [
            *_columns([("table", "deleted"), *rows], right={1}),
            "",
            f"{size(given_back)} given back, {size(done.bytes_after)} left,"
            f" {size(done.unused_bytes)} of it unused",
        ]
    )


def size(count: int) -> str:
    """Bytes in the unit that reads best."""
    place, value = 0, float(count)
    while value >= 1024 and place < len(_UNITS) - 1:
        place, value = place + 1, value / 1024
    return f"{value:.{min(1, place)}f} {_UNITS[place]}"


def _age(seconds: float) -> str:
    """In the unit that reads best."""
    for name, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def _time(seconds: float) -> str:
    try:
        return rfc3339(seconds)
    except (OverflowError, ValueError):
        return f"{seconds:g}"  # out of range for a date; the row is shown all the same


def _columns(rows: Sequence[tuple[str, ...]], right: set[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
