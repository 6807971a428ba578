"""``wsctl top``: a live full-screen view of the server."""

from __future__ import annotations

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import BadUsage
from wsctl.times import Duration

# No messages and no typing: on a busy server there would be too many to read.
QUIET_EVENTS = ("user_*", "session_*", "message_published", "notification_*", "alert_*")
_SHORTEST_S, _LONGEST_S = 0.25, 60.0


@command()
@click.option(
    "--interval",
    type=Duration(),
    default="1s",
    show_default=True,
    help="Update interval, 250ms to 60s.",
)
@click.option(
    "--events",
    multiple=True,
    metavar="GLOB",
    shell_complete=completion.events,
    help=f"Events to show; repeatable; '*': all, messages too. Default: {', '.join(QUIET_EVENTS)}.",
)
@pass_environment
def top(environment: Environment, interval: float, events: tuple[str, ...]) -> None:
    """Watch the server live on the full screen.

    Figures over time, latencies, queues, the busiest sessions and users, events.

    Keys: q quit, p pause, s sort, / filter, Tab and arrows between and within the panes, z zoom,
    ? help. It reconnects by itself when the server restarts.

    Needs the permission monitor; the lists also connections:read.

    Examples:
    wsctl top
    wsctl top --interval 250ms
    wsctl top --events 'alert_*' --events 'order.*'
    """
    from wsctl.top.run import has_terminal, run

    output = environment.output
    if not output.is_table or not has_terminal():
        raise BadUsage("top needs a terminal; without one use: wsctl stats --watch")
    if not _SHORTEST_S <= interval <= _LONGEST_S:
        raise click.UsageError("--interval must be between 250ms and 60s.")
    run(
        environment.target,
        events=events or QUIET_EVENTS,
        interval_s=interval,
        has_colour=output.has_colour,
    )
