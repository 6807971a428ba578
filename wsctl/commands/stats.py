"""``wsctl stats``: the server's numbers, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from wsctl.environment import Environment, pass_environment
from wsctl.exits import Failed, NotPermitted
from wsctl.fields import TEN, in_order, people_rows
from wsctl.output import Column, Output, csv_line, to_json
from wsctl.shape import command
from wsctl.text import one_line
from wsctl.times import Duration, clock_time

_COLUMNS = [
    Column("FIELD", "field"),
    Column("VALUE", "value", right=True),
    Column("RATE", "rate", right=True),
]


def check(stats: dict[str, Any]) -> dict[str, Any]:
    """``stats`` if they are some; what answers otherwise is no wsserver."""
    missing = [name for name in TEN if name not in stats]
    if missing:
        raise Failed(f"the server's answer has no {missing[0]}: is it a wsserver?")
    return stats


@command(
    """
    wsctl stats
    wsctl stats -o json | jq .active_connections
    wsctl stats --watch --interval 1s
    wsctl stats --watch -o json > load.ndjson
    """
)
@click.option("--watch", "-w", is_flag=True, help="Show them again and again until Ctrl-C.")
@click.option(
    "--interval",
    type=Duration(),
    default="2s",
    show_default=True,
    metavar="AGE",
    help="With --watch: how often.",
)
@pass_environment
def stats(environment: Environment, watch: bool, interval: float) -> None:
    """Show the server's statistics.

    With --watch: a live view on a terminal; otherwise one line each time, with -o json one
    object a line. A server that goes away meanwhile is waited for.
    """
    output, client = environment.output, environment.client
    first = check(client.get("/stats"))
    if not watch:
        if output.is_table:
            output.data(output.table(_COLUMNS, people_rows(first)))
        else:
            output.record(in_order(first) if output.format == "csv" else first)
        return
    samples = watched(first, lambda: check(client.get("/stats")), interval)
    if output.is_live:
        _live(environment, samples)
    else:
        _lines(output, samples)


def watched(
    first: dict[str, Any],
    fetch: Callable[[], dict[str, Any]],
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any] | str]:
    """``first``, then a sample every ``interval_s`` seconds; a string is why there is none now.

    A refusal ends it: no patience helps against a missing permission.
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

    from wsctl.tables import make

    console = Console(no_color=not environment.output.has_colour, highlight=False)
    url = environment.target.url
    table: Any = Text("")
    with Live(console=console, auto_refresh=False) as live:
        for sample in samples:
            if isinstance(sample, str):
                # The last numbers stay, with a line that says that they are old.
                status = f"{clock_time(_now())}  no answer: {sample}"
            else:
                status = f"{clock_time(_now())}  {url}  Ctrl-C ends"
                titles = [(column.title, column.right) for column in _COLUMNS]
                rows = people_rows(sample)
                table = make(titles, [[row[column.key] for column in _COLUMNS] for row in rows])
            live.update(Group(Text(status), table), refresh=True)
