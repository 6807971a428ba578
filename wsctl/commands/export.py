"""``wsctl export``: stored data to files, for cron and spreadsheets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.times import Duration, Moment

_DAY_S = 86_400.0
_FORMATS = ("csv", "json", "ndjson")
TIME_MARK = "{time}"
"""Placeholder in a file name: the start of the export, UTC."""


@group()
def export() -> None:
    """Export stored data to files, complete or not at all.

    Examples:
    wsctl export stats --since 7d --step 1h --out week.csv
    wsctl export audit --since-last audit.state --out 'audit-{time}.csv.gz'
    """


@dataclass(frozen=True)
class _Options:
    """Options of every export."""

    since: float | None
    until: float | None
    format: str | None
    out: Path | None
    since_last: Path | None
    database: Path | None


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in reversed(
        (
            click.option(
                "--since",
                type=Moment(),
                help="Start (inclusive): RFC 3339, a date (UTC), or an age. Default: 24h; with"
                " --since-last everything, and it applies to the first run only.",
            ),
            click.option("--until", type=Moment(), help="End (exclusive). Default: now."),
            click.option("--format", "format_", type=click.Choice(_FORMATS), help="Default: csv."),
            click.option(
                "--out",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Write here instead of standard output; replaced atomically when the"
                " export is complete. {time} becomes the current time; .gz is compressed.",
            ),
            click.option(
                "--since-last",
                type=click.Path(path_type=Path),
                metavar="STATEFILE",
                help="Export the rows added since the last run with this file, each exactly once.",
            ),
            click.option(
                "--database",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Read the server's SQLite file instead of the API; the server may be down.",
            ),
        )
    ):
        function = decorate(function)
    return function


@command()
@_options
@click.option("--step", type=Duration(), help="Only the last snapshot of each step (5m).")
@pass_environment
def stats(
    environment: Environment, /, step: float | None, format_: str | None, **options: Any
) -> None:
    """Export the statistics, one row for each snapshot.

    Old snapshots are stored as hourly means.

    Columns: timestamp, node, the ten fields, then all other stored fields. In CSV, cells that a
    spreadsheet would read as a formula get a leading apostrophe.

    Examples:
    wsctl export stats --since 24h --out stats.csv
    wsctl export stats --since 2024-01-15T00:00:00+08:00 --until 12h
    wsctl export stats --since 30d --step 1h --format ndjson
    wsctl export stats --since-last stats.state --out 'stats-{time}.csv'
    wsctl export stats --database var/wsserver.sqlite3 --out stats.csv
    """
    if step is not None and not step.is_integer():
        raise click.UsageError("--step must be whole seconds, such as 30s or 5m.")
    step_s = None if step is None else int(step)
    _export(environment, "stats", _Options(format=format_, **options), step_s)


@command()
@_options
@pass_environment
def audit(environment: Environment, /, format_: str | None, **options: Any) -> None:
    """Export the audit trail, one row for each entry.

    Oldest first.

    Columns: id, at, actor, role, action, target, outcome, detail (JSON), request_id, remote_ip.

    Examples:
    wsctl export audit --since 7d --out audit.csv
    wsctl export audit --since-last audit.state --out 'audit-{time}.csv.gz'
    wsctl export audit --database var/wsserver.sqlite3 --since 2024-01-15
    """
    _export(environment, "audit", _Options(format=format_, **options))


@command()
@_options
@pass_environment
def notifications(environment: Environment, /, format_: str | None, **options: Any) -> None:
    """Export notifications, one row for each delivery.

    A delivery goes to one user through one channel.

    Attempts and the parameters of templates are JSON in one cell. --since and --until refer to
    when a notification was accepted. --since-last exports only deliveries that are final.

    Examples:
    wsctl export notifications --since 24h --out notifications.csv
    wsctl export notifications --since-last sent.state --out 'sent-{time}.csv'
    wsctl export notifications --database var/wsserver.sqlite3 --format ndjson
    """
    _export(environment, "notifications", _Options(format=format_, **options))


def _export(
    environment: Environment, kind: str, options: _Options, step_s: int | None = None
) -> None:
    from wsctl.exporting.progress_bar import Bar
    from wsctl.exporting.run import Export
    from wsctl.exporting.sources import Source

    format_ = options.format or environment.output.format or "csv"
    if format_ not in _FORMATS:
        raise click.UsageError("An export cannot be a table: use --format csv, json or ndjson.")
    now = time.time()
    wanted = Export(
        kind=kind,
        source=Source(options.database, lambda: environment.client),
        format=format_,
        out=_named(options.out, now),
        bar=Bar(f"Exporting {kind}", quiet=environment.output.quiet),
    )
    count = _run(wanted, options, now, step_s)
    if wanted.out is not None and sys.stderr is not None and sys.stderr.isatty():
        environment.output.note(f"{count:,} rows in {wanted.out}")


def _run(wanted: Any, options: _Options, now: float, step_s: int | None) -> int:
    if options.since_last is None:
        end = now if options.until is None else options.until
        start = end - _DAY_S if options.since is None else options.since
        if start >= end:
            raise click.UsageError("--since must be before --until.")
        return int(wanted.of_time(start, end, step_s))
    if options.until is not None:
        raise click.UsageError("--until cannot be combined with --since-last.")
    from wsctl.exporting.state import locked

    with locked(options.since_last, wanted.kind) as state:
        return int(wanted.since_last(state, options.since, step_s))


def _named(out: Path | None, now: float) -> Path | None:
    """Where to write; None for standard output."""
    if out is None or str(out) == "-":
        return None
    if TIME_MARK not in str(out):
        return out
    moment = datetime.fromtimestamp(now, UTC)
    text = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
    path = Path(str(out).replace(TIME_MARK, text))
    if path.exists():  # only where the clock was set back
        raise click.UsageError(f"{path} already exists.")
    return path


export.add_command(stats)
export.add_command(audit)
export.add_command(notifications)
