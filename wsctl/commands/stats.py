"""``wsctl stats``: the server's statistics, current, repeated or past."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import Failed, NotPermitted
from wsctl.output.csv_rows import csv_line
from wsctl.output.stats_fields import TEN, as_stored, in_order, people_rows
from wsctl.output.writer import Column, Output, to_json
from wsctl.text import one_line
from wsctl.times import Duration, Moment, clock_time

_HOUR_S = 3600.0
ALL_NODES = "*"
"""What the server has for ``node`` in statistics of several nodes together."""
_COLUMNS = [
    Column("FIELD", "field"),
    Column("VALUE", "value", right=True),
    Column("RATE", "rate", right=True),
]


def check(stats: dict[str, Any]) -> dict[str, Any]:
    """``stats`` if all required fields are there; raises ``Failed`` otherwise."""
    missing = [name for name in TEN if name not in stats]
    if missing:
        raise Failed(f"the server's answer has no {missing[0]}: is it a wsserver?")
    return stats


@command()
@click.option("--watch", "-w", is_flag=True, help="Repeat until Ctrl-C.")
@click.option(
    "--interval", type=Duration(), default="2s", show_default=True, help="With --watch: interval."
)
@click.option(
    "--at",
    type=Moment(),
    help="Show them as of this time: 14:05 (local), RFC 3339, or an age such as 2h.",
)
@click.option("--diff", type=Moment(), help="Compare --at (or now) with this time.")
@click.option(
    "--step",
    type=Duration(),
    help="One row per step from --at (default: 1h ago) to --diff (default: now).",
)
@click.option(
    "--plot",
    multiple=True,
    metavar="FIELD",
    help="Chart a field over the same range; repeatable.",
    shell_complete=completion.one_of(*TEN, "deliver_ms_p99", "rtt_ms_p99", "queued_bytes"),
)
@click.option(
    "--node",
    metavar="NAME",
    help="Only this node, current or in snapshots; those of several nodes together have the name *."
    " Default: all.",
    shell_complete=completion.nodes,
)
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read snapshots from the server's SQLite file; the server may be down.",
)
@pass_environment
def stats(
    environment: Environment,
    watch: bool,
    interval: float,
    at: float | None,
    diff: float | None,
    step: float | None,
    plot: tuple[str, ...],
    node: str | None,
    database: Path | None,
) -> None:
    """Show the server's statistics, current or past.

    With --watch, a terminal shows a live view; a pipe gets one line each time, with -o json one
    object per line. It goes on after an outage of the server.

    Past statistics come from stored snapshots: one a minute, hourly means for old ones.

    Examples:
    wsctl stats
    wsctl stats --watch --interval 1s
    wsctl stats --node n2
    wsctl stats --at 14:05
    wsctl stats --at 14:05 --diff 14:20
    wsctl stats --at 6h --step 30m
    wsctl stats --at 24h --plot messages_received --plot total_connections
    wsctl stats --at 03:00 --database var/wsserver.sqlite3
    """
    is_past = bool(at is not None or diff is not None or step is not None or plot)
    if is_past:
        if watch:
            raise click.UsageError(
                "--watch cannot be combined with --at, --diff, --step or --plot."
            )
        _past(environment, at, diff, step, plot, node, database)
        return
    if database is not None:
        raise click.UsageError("--database goes with --at, --diff, --step or --plot.")
    output, client = environment.output, environment.client
    query = {"node": None if node == ALL_NODES else node}
    first = check(client.get("/stats", query))
    if not watch:
        if output.is_table:
            output.data(output.table(_COLUMNS, people_rows(first)))
        else:
            output.record(in_order(first) if output.format == "csv" else first)
        return
    url = environment.target.url
    samples = (
        outage(url, sample, interval) if isinstance(sample, str) else sample
        for sample in watched(first, lambda: check(client.get("/stats", query)), interval)
    )
    if output.is_live:
        _live(environment, samples)
    else:
        _lines(output, samples)


def _past(
    environment: Environment,
    at: float | None,
    diff: float | None,
    step: float | None,
    plot: tuple[str, ...],
    node: str | None,
    database: Path | None,
) -> None:
    """Show one of the four views of stored snapshots: one, two compared, steps, charts."""
    from wsctl.commands import stats_history as views
    from wsctl.snapshots import analysis, history

    def source(wanted: history.Range) -> Iterator[history.Snapshot]:
        if database is not None:
            return history.from_database(database, wanted)
        return history.from_api(environment.client, wanted)

    output, now = environment.output, time.time()
    if step is not None and not step.is_integer():
        raise click.UsageError("--step must be whole seconds, such as 30s or 5m.")
    if plot or step is not None:
        since, until = sorted((now - _HOUR_S if at is None else at, now if diff is None else diff))
        if until - since < 1:
            raise click.UsageError("--at and --diff must be at least one second apart.")
        wanted = history.Range(since, until, None if step is None else int(step))
        if plot:
            views.show_charts(output, source, wanted, plot, node)
        else:
            views.show_steps(output, source, wanted, node)
        return
    moments = sorted(moment for moment in (at, diff) if moment is not None)
    found = [analysis.snapshot_at(source, moment, node) for moment in moments]
    if diff is None:
        views.show_snapshot(output, found[0], moments[0])
        return
    if at is None:
        is_live = database is None
        found.append(_now_as_stored(environment, node) if is_live else
                     analysis.snapshot_at(source, now, node))  # fmt: skip
    views.show_difference(output, analysis.compare(*found))


def _now_as_stored(environment: Environment, node: str | None) -> dict[str, Any]:
    query = {"node": None if node == ALL_NODES else node}
    return {"timestamp": _now(), **as_stored(check(environment.client.get("/stats", query)))}


def watched(
    first: dict[str, Any],
    fetch: Callable[[], dict[str, Any]],
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any] | str]:
    """``first``, then a sample every ``interval_s`` seconds, or an error text instead.

    Raises ``NotPermitted``, as waiting does not help against a missing permission.
    """
    yield first
    while True:
        wait(interval_s)
        try:
            sample: dict[str, Any] | str = fetch()
        except NotPermitted:
            raise
        except Failed as error:
            sample = one_line(error.message)
        yield sample


def outage(url: str, why: str, interval_s: float) -> str:
    """A line with the server that sent no statistics, the reason, and the interval."""
    why = why.removeprefix(f"cannot reach {url}: ")
    return f"no statistics from {url}: {why}; retrying every {interval_s:g} s"


def _lines(output: Output, samples: Iterator[dict[str, Any] | str]) -> None:
    header: list[str] = []
    for sample in samples:
        if isinstance(sample, str):
            output.note(f"wsctl: {sample}")
        elif output.format == "json":
            output.data(to_json(sample) + "\n")
        elif output.format == "csv":
            flat = in_order(sample)
            if not header:
                header = list(flat)
                output.data(csv_line(["timestamp", *header]))
            moment = sample.get("timestamp") or _now()
            output.data(csv_line([moment, *(flat.get(name) for name in header)]))
        else:
            fields = " ".join(f"{k}={sample[k]}" for k in TEN)
            output.line(f"{clock_time(sample.get('timestamp') or _now())} {fields}")


def _now() -> str:
    from wsctl.times import rfc3339

    return rfc3339(time.time())


def _live(environment: Environment, samples: Iterator[dict[str, Any] | str]) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from wsctl.output.tables import make

    console = Console(no_color=not environment.output.has_colour, highlight=False)
    url = environment.target.url
    table: Any = Text("")
    with Live(console=console, auto_refresh=False) as live:
        for sample in samples:
            if isinstance(sample, str):
                # The last numbers stay, below a line with the time and the error.
                status = f"{clock_time(_now())}  {sample}"
            else:
                status = f"{clock_time(_now())}  {url}  Ctrl-C ends"
                titles = [(column.title, column.right) for column in _COLUMNS]
                rows = people_rows(sample)
                table = make(titles, [[row[column.key] for column in _COLUMNS] for row in rows])
            live.update(Group(Text(status), table), refresh=True)
