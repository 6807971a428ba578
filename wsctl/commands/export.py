"""``wsctl export``: stored data to files, for cron and spreadsheets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import organization_option, session_option, user_option
from wsctl.times import Duration, Moment, rfc3339

if TYPE_CHECKING:
    from wsctl.exporting.run import Export

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
    wsctl export messages --session s1 --format ndjson
    """


@dataclass(frozen=True)
class _Options:
    """Options of every export."""

    since: float | None
    until: float | None
    format: str | None
    out: Path | None
    since_last: Path | None = None
    database: Path | None = None


_until_option = click.option("--until", type=Moment(), help="End (exclusive). Default: now.")
_format_option = click.option(
    "--format", "format_", type=click.Choice(_FORMATS), help="Default: csv."
)
_out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write here instead of standard output; replaced atomically when the"
    " export is complete. {time} becomes the current time; .gz is compressed.",
)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in reversed(
        (
            click.option(
                "--since",
                type=Moment(),
                help="Start (inclusive): RFC 3339, a date (UTC), or an age. Default: 24h; with"
                " --since-last everything, and it applies to the first run only.",
            ),
            _until_option,
            _format_option,
            _out_option,
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


@command()
@_options
@pass_environment
def usage(environment: Environment, /, format_: str | None, **options: Any) -> None:
    """Export what was used of quotas, one row for each report.

    Columns: at, scope, unit, amount, cost, source, session_id, message_id, reported_by.

    Examples:
    wsctl export usage --since 30d --out usage.csv
    wsctl export usage --since-last usage.state --out 'usage-{time}.csv'
    wsctl export usage --database var/wsserver.sqlite3 --format ndjson
    """
    _export(environment, "usage", _Options(format=format_, **options))


@command()
@click.option(
    "--since",
    type=Moment(),
    help="Start (inclusive): RFC 3339, a date (UTC), or an age. Default: 24h; with --session or"
    " --user everything.",
)
@_until_option
@session_option("Only this session.")
@user_option("Only messages by this user.")
@organization_option("Only sessions of this organization.")
@_format_option
@_out_option
@pass_environment
def messages(
    environment: Environment,
    /,
    since: float | None,
    until: float | None,
    session: str | None,
    user: str | None,
    organization: str | None,
    format_: str | None,
    out: Path | None,
) -> None:
    """Export what was said in sessions, one row for each message.

    Session by session, each in the order of its offsets. Messages are as they are now: edited, or
    deleted without their content. They are kept for archive_retention_days.

    Columns: session_id, offset, message_id, created_at, type, user_id, username, role,
    content_type, content (JSON where it is an object), reply_to, state, edited_at, edited_by,
    deleted. In CSV, cells that a spreadsheet would read as a formula get a leading apostrophe.

    Examples:
    wsctl export messages --session s1
    wsctl export messages --since 2024-01-15 --until 2024-01-16 --out day.csv
    wsctl export messages --user u1 --format ndjson --out u1.ndjson.gz
    wsctl export messages --organization acme --since 30d --out acme.csv
    """
    from wsctl.exporting import sources

    now = time.time()
    end = now if until is None else until
    if since is None and session is None and user is None:
        since = end - _DAY_S
    if since is not None and since >= end:
        raise click.UsageError("--since must be before --until.")
    wanted = _wanted(environment, "messages", _Options(since, until, format_, out), now)
    filters = {
        "session_id": session,
        "user_id": user,
        "organization_id": organization,
        "since": None if since is None else rfc3339(since),
        "until": rfc3339(end),
    }
    _say(environment, wanted, wanted.of_rows(sources.messages(environment.client, filters)))


@command()
@click.argument("user", shell_complete=completion.users)
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="Default: ndjson.")
@_out_option
@pass_environment
def user_data(
    environment: Environment, /, user: str, format_: str | None, out: Path | None
) -> None:
    """Export what is stored about a user.

    Columns: table, row (JSON). Messages that the user has sent, and those of the inbox, are rows of
    the table messages. Needs users:erase.

    Examples:
    wsctl export user-data u1 --out u1.ndjson
    wsctl export user-data u1 --format csv --out 'u1-{time}.csv.gz'
    """
    from wsctl.exporting import sources

    chosen = format_ or environment.output.format or "ndjson"
    wanted = _wanted(environment, "user-data", _Options(None, None, chosen, out), time.time())
    _say(environment, wanted, wanted.of_rows(sources.user_data(environment.client, user)))


def _export(
    environment: Environment, kind: str, options: _Options, step_s: int | None = None
) -> None:
    now = time.time()
    wanted = _wanted(environment, kind, options, now)
    _say(environment, wanted, _run(wanted, options, now, step_s))


def _wanted(environment: Environment, kind: str, options: _Options, now: float) -> Export:
    from wsctl.exporting.progress_bar import Bar
    from wsctl.exporting.run import Export
    from wsctl.exporting.sources import Source

    format_ = options.format or environment.output.format or "csv"
    if format_ not in _FORMATS:
        raise click.UsageError("An export cannot be a table: use --format csv, json or ndjson.")
    return Export(
        kind=kind,
        source=Source(options.database, lambda: environment.client),
        format=format_,
        out=_named(options.out, now),
        bar=Bar(f"Exporting {kind}", quiet=environment.output.quiet),
    )


def _say(environment: Environment, wanted: Export, count: int) -> None:
    if wanted.out is not None and sys.stderr is not None and sys.stderr.isatty():
        environment.output.note(f"{count:,} rows in {wanted.out}")


def _run(wanted: Export, options: _Options, now: float, step_s: int | None) -> int:
    if options.since_last is None:
        end = now if options.until is None else options.until
        start = end - _DAY_S if options.since is None else options.since
        if start >= end:
            raise click.UsageError("--since must be before --until.")
        return wanted.of_time(start, end, step_s)
    if options.until is not None:
        raise click.UsageError("--until cannot be combined with --since-last.")
    from wsctl.exporting.state import locked

    with locked(options.since_last, wanted.kind) as state:
        return wanted.since_last(state, options.since, step_s)


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
export.add_command(messages)
export.add_command(user_data)
export.add_command(usage)
