"""``wsctl monitor``: what happens on the server, as it happens."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import click

from wsctl.environment import Environment, pass_environment
from wsctl.exits import ExitStatus
from wsctl.fields import TEN
from wsctl.output import csv_line, plain, to_json
from wsctl.shape import command
from wsctl.times import Duration, clock_time

# Colour only underlines what the words say.
_COLOURS = {
    "user_status_update": "cyan",
    "event": "green",
    "alert_raised": "red",
    "notification_failed": "red",
    "alert_cleared": "green",
    "server_draining": "yellow",
    "message_status_update": "blue",
}
_SKIPPED = frozenset({"type", "timestamp", "name"})


@command(
    """
    wsctl monitor
    wsctl monitor --events 'user_*' --events event
    wsctl monitor --events stats_update --interval 5s
    wsctl monitor -o json | jq -c 'select(.type == "event").event'
    """
)
@click.option(
    "--events",
    multiple=True,
    metavar="GLOB",
    help="Only events of these names and pushes of these types; repeatable.",
)
@click.option("--interval", type=Duration(), metavar="AGE", help="How often statistics come.")
@pass_environment
@click.pass_context
def monitor(
    ctx: click.Context, environment: Environment, events: tuple[str, ...], interval: float | None
) -> None:
    """Watch live what happens, until Ctrl-C.

    User status, events, statistics, alerts.

    Lines for people on a terminal, one JSON object a line (NDJSON) in a pipe. Reconnects by
    itself when the server restarts.
    """
    from wsctl.feed import MonitorFeed

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
            name, text = describe(push)
            colour = _COLOURS.get(name) or _COLOURS.get(str(push.get("type")))
            output.line(f"{clock_time(push.get('timestamp'))}  {text}", fg=colour)
        else:
            output.data(to_json(push) + "\n")


def is_wanted(push: dict[str, Any], globs: tuple[str, ...]) -> bool:
    """Does a push's type, or the name of the event in it, match one of the globs?

    The server chooses among events alone; statistics and user status come in any case.
    """
    names = {str(push.get("type")), describe(push)[0]}
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


def describe(push: dict[str, Any]) -> tuple[str, str]:
    """The name that a push goes by (an event's own) and the line for people."""
    kind = str(push.get("type"))
    if kind == "stats_update" and isinstance(push.get("stats"), dict):
        stats = push["stats"]
        return kind, _line(kind, {key: stats.get(key) for key in TEN})
    if kind == "event" and isinstance(push.get("event"), dict):
        event = push["event"]
        name = str(event.get("name", kind))
        return name, _line(name, event)
    return kind, _line(kind, push)


def _line(name: str, fields: dict[str, Any]) -> str:
    if isinstance(fields.get("message"), dict):  # of a chat; -o json has all of it
        fields = {**fields, "message": fields["message"].get("content")}
    told = (
        f"{key}={_shown(value)}"
        for key, value in fields.items()
        if key not in _SKIPPED and value is not None
    )
    return f"{name:<24} {' '.join(told)}".rstrip()


def _shown(value: Any) -> str:
    """A value in a line: close codes and ports are not grouped by thousands, so no number is."""
    if isinstance(value, dict | list):
        return to_json(value)
    return str(value) if type(value) is int else plain(value)
