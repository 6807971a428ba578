"""Progress bar and result table of a load."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from wsctl.bench.load import Step
from wsctl.formatting import plural
from wsctl.output.writer import Column, Output


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,.1f}"


COLUMNS = [
    Column("", "what"),
    Column("COUNT", "count", right=True),
    Column("PER SECOND", "per_s", _number, right=True),
    Column("P50 MS", "p50", _number, right=True),
    Column("P95 MS", "p95", _number, right=True),
    Column("P99 MS", "p99", _number, right=True),
    Column("MAX MS", "max", _number, right=True),
]


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each kind of operation."""
    opened, sent, came = result["connections"], result["messages"], result["deliveries"]
    return [
        _row("connect", opened["opened"], opened["per_s"], result["connect_ms"]),
        _row("publish to accepted", sent["published"], sent["per_s"], result["publish_ms"]),
        _row("publish to received", came["received"], came["per_s"], result["receive_ms"]),
        _row("ping", result["pings"], None, result["ping_ms"]),
    ]


def _row(
    what: str, count: int, per_s: float | None, times: dict[str, float | None]
) -> dict[str, Any]:
    return {"what": what, "count": count, "per_s": per_s, **times}


def show(output: Output, result: dict[str, Any]) -> None:
    """Print the result for people."""
    output.data(output.table(COLUMNS, rows(result)))
    output.line("")
    deliveries, plan = result["deliveries"], result["plan"]
    output.line(
        f"{deliveries['received']:,} of {deliveries['expected']:,} deliveries,"
        f" {deliveries['lost']:,} lost, {deliveries['duplicated']:,} duplicated;"
        f" {result['connections']['opened']:,} of {plan['connections']:,} connections"
    )
    if unanswered := result["messages"]["unanswered"]:
        output.line(f"not answered: {plural(unanswered, 'message')}")
    for error, count in result["errors"].items():
        output.line(f"{count:,} × {error}", fg="red")
    if result["stopped"]:
        output.line(f"stopped early: {result['stopped']}", bold=True)


@contextlib.contextmanager
def progress(output: Output) -> Iterator[Step]:
    """A progress bar on stderr, if that is a terminal."""
    import os

    is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not output.quiet
    if not is_shown:
        yield lambda word, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("connecting", total=None)

        def step(word: str, done: int, total: int) -> None:
            bar.update(task, description=word, completed=done, total=total)

        yield step
