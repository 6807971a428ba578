"""``wsctl monitor``: live events of the server."""

from __future__ import annotations

from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import ExitStatus
from wsctl.output.csv_rows import csv_line
from wsctl.output.monitor_pushes import Push, colour_of, fields_of, is_wanted, name_of
from wsctl.output.writer import Output, to_json
from wsctl.times import Duration, clock_time


@command()
@click.option(
    "--events",
    multiple=True,
    metavar="GLOB",
    help="Only events of these names and pushes of these types; repeatable.",
    shell_complete=completion.events,
)
@click.option("--interval", type=Duration(), help="Interval of the statistics.")
@pass_environment
@click.pass_context
def monitor(
    ctx: click.Context, environment: Environment, events: tuple[str, ...], interval: float | None
) -> None:
    """Watch the server's events live, until Ctrl-C.

    User status, events, statistics, alerts.

    Text lines on a terminal, one JSON object per line (NDJSON) in a pipe. Reconnects by itself
    when the server restarts.

    Examples:
    wsctl monitor
    wsctl monitor --events 'user_*' --events event
    wsctl monitor --events stats_update --interval 5s
    wsctl monitor -o json | jq -c 'select(.type == "event").event'
    """
    from wsctl.websocket.monitor_feed import MonitorFeed

    output = environment.output
    for_people = output.format == "table" or (output.format is None and output.is_terminal)
    feed = MonitorFeed(
        environment.target,
        events=events or ("*",),
        interval_s=interval,
        say=lambda text: output.note(f"wsctl: {text}"),
    )
    if output.format == "csv":
        output.data(csv_line(("timestamp", "type", "message")))
    for push in feed.pushes():
        if push is None:
            if output.reader_is_gone():
                ctx.exit(ExitStatus.DONE)
        elif events and not is_wanted(push, events):
            continue
        elif output.format == "csv":
            output.data(csv_line((push.get("timestamp"), push.get("type"), to_json(push))))
        elif for_people:
            _line(output, push)
        else:
            output.data(to_json(push) + "\n")


def _line(output: Output, push: Push) -> None:
    """Print time, name and fields; colours only repeat what the spacing shows."""
    parts: list[tuple[str, dict[str, Any]]] = [
        (f"{clock_time(push.get('timestamp'))}  ", {"dim": True}),
        (f"{name_of(push):<24}", {"fg": colour_of(push)}),
    ]
    for name, value in fields_of(push):
        parts += [(f" {name}=", {"dim": True}), (value, {})]
    output.line_of(parts, indent=10)
