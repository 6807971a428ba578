"""``wsctl export``: stored data as files, for cron and spreadsheets."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from wsctl.environment import Environment, pass_environment
from wsctl.exits import Failed
from wsctl.fields import TEN
from wsctl.output import csv_line, to_json
from wsctl.shape import LazyGroup, command
from wsctl.text import flatten
from wsctl.times import Duration, Moment

_DAY_S = 86_400.0
_FIRST = ("timestamp", "node", *TEN)


@click.group(
    cls=LazyGroup,
    epilog="""
    wsctl export stats --since 7d --step 1h --out week.csv
    """,
)
def export() -> None:
    """Write stored data to files, whole or not at all."""


class Spool:
    """All rows in a temporary file, so that memory stays flat however many they are.

    Nothing is written where it is wanted before the last row has come.
    """

    def __init__(self, file: IO[str], rows: Iterable[dict[str, Any]]) -> None:
        self._file = file
        self.count = 0
        names = set(_FIRST)
        for row in rows:
            names.update(flatten(row))
            file.write(json.dumps({name: row[name] for name in _in_order(row)}) + "\n")
            self.count += 1
        self.columns = _in_order(names)
        """Timestamp, node, the ten fields, then whatever else any row has."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows once more."""
        self._file.seek(0)
        return map(json.loads, self._file)


def _in_order(names: Collection[str]) -> list[str]:
    """One order, whether a row comes from the server or from its file."""
    return [*(name for name in _FIRST if name in names), *sorted({*names}.difference(_FIRST))]


def _csv(spool: Spool) -> Iterator[str]:
    yield csv_line(spool.columns)
    for row in spool.rows():
        flat = flatten(row)
        yield csv_line(flat.get(name) for name in spool.columns)


def _json(spool: Spool) -> Iterator[str]:
    yield "["
    for number, row in enumerate(spool.rows()):
        yield (",\n" if number else "\n") + to_json(row)
    yield "\n]\n"


def _ndjson(spool: Spool) -> Iterator[str]:
    return (to_json(row) + "\n" for row in spool.rows())


WRITERS: dict[str, Callable[[Spool], Iterator[str]]] = {
    "csv": _csv,
    "json": _json,
    "ndjson": _ndjson,
}


@command(
    """
    wsctl export stats --since 24h --out stats.csv
    wsctl export stats --since 2024-01-15T00:00:00+08:00 --until 12h
    wsctl export stats --since 30d --step 1h --format ndjson
    wsctl export stats --database var/wsserver.sqlite3 --out stats.csv
    """
)
@click.option(
    "--since",
    type=Moment(),
    metavar="TIME",
    help="From here on: RFC 3339, a date (UTC), or an age. Default: 24h.",
)
@click.option("--until", type=Moment(), metavar="TIME", help="Up to, not including. Default: now.")
@click.option(
    "--step", type=Duration(), metavar="AGE", help="Only the last snapshot of each step, as 5m."
)
@click.option("--format", "format_", type=click.Choice([*WRITERS]), help="Default: csv.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write here instead of standard output; replaced in one go once all is there.",
)
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the server's SQLite file instead of asking the server, which may be down.",
)
@pass_environment
def stats(
    environment: Environment,
    since: float | None,
    until: float | None,
    step: float | None,
    format_: str | None,
    out: Path | None,
    database: Path | None,
) -> None:
    """Export the stored statistics, one row for each snapshot (hourly means for old ones).

    Columns: timestamp, node, the ten fields, then everything else that was stored. In CSV, cells
    that a spreadsheet would take for a formula get a leading apostrophe.
    """
    from wsctl import history

    format_ = format_ or environment.output.format or "csv"
    if format_ not in WRITERS:
        raise click.UsageError("An export has no table: use --format csv, json or ndjson.")
    now = time.time()
    end = now if until is None else until
    start = end - _DAY_S if since is None else since
    if start >= end:
        raise click.UsageError("--since must be before --until.")
    if step is not None and not step.is_integer():
        raise click.UsageError("--step must be whole seconds, such as 30s or 5m.")
    wanted = history.Range(start, end, None if step is None else int(step))
    rows = (
        history.from_api(environment.client, wanted)
        if database is None
        else history.from_database(database, wanted)
    )
    count = _write(rows, WRITERS[format_], out)
    if out is not None and sys.stderr.isatty():
        environment.output.note(f"{count:,} snapshots in {out}")


def _write(
    rows: Iterable[dict[str, Any]], writer: Callable[[Spool], Iterator[str]], out: Path | None
) -> int:
    from wsctl.files import replace_file

    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as file:
        spool = Spool(file, rows)
        if out is None or str(out) == "-":
            for text in writer(spool):
                sys.stdout.write(text)
        else:
            try:
                with replace_file(out) as target:
                    target.writelines(writer(spool))
            except OSError as error:
                raise Failed(f"cannot write {out}: {error.strerror}") from None
    return spool.count


export.add_command(stats)
