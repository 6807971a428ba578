"""``wsctl chaos``: a bad network for named users, on a server that allows it."""

from __future__ import annotations

from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.formatting import plural
from wsctl.output.writer import Column
from wsctl.times import Duration, clock_time


def _unless_zero(unit: str, factor: float = 1.0) -> Any:
    return lambda value: f"{value * factor:g} {unit}" if value else ""


_COLUMNS = [
    Column("USER", "user_id", is_id=True),
    Column("DELAY", "delay_ms", _unless_zero("ms"), right=True),
    Column("JITTER", "jitter_ms", _unless_zero("ms"), right=True),
    Column("DROP", "drop", _unless_zero("%", 100), right=True),
    Column("READS", "bytes_per_s", _unless_zero("B/s"), right=True),
    Column("CUT EVERY", "cut_every_s", _unless_zero("s"), right=True),
    Column("DIRECTION", "direction"),
    Column("UNTIL", "ends_at", clock_time),
    Column("BY", "by", is_detail=True),
]


@command()
@click.argument("user", required=False, shell_complete=completion.users)
@click.option("--delay", type=Duration(), help="Delay each message by so much.")
@click.option("--jitter", type=Duration(), help="And by up to so much more, at random.")
@click.option(
    "--drop",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Lose so many of 100 messages.",
)
@click.option(
    "--slow",
    type=click.FloatRange(1),
    metavar="BYTES",
    help="The client reads so many bytes a second.",
)
@click.option("--cut-every", type=Duration(), help="Cut each connection after so long.")
@click.option("--cut", is_flag=True, help="Cut the connections once, now.")
@click.option(
    "--direction",
    type=click.Choice(["both", "to-client", "from-client"]),
    default="both",
    show_default=True,
    help="Which messages are delayed and lost.",
)
@click.option(
    "--duration", type=Duration(), default="5m", show_default=True, help="For how long; up to 1h."
)
@click.option("--end", is_flag=True, help="End it before its time.")
@pass_environment
def chaos(
    environment: Environment,
    user: str | None,
    delay: float | None,
    jitter: float | None,
    drop: float | None,
    slow: float | None,
    cut_every: float | None,
    cut: bool,
    direction: str,
    duration: float,
    end: bool,
) -> None:
    """Disturb the connections of a user.

    Simulates a bad network, to test a page: on all nodes, for open connections and those that are
    opened meanwhile. Messages are lost or delayed between server and client only: other users and
    what is stored are not affected. A client that reads too slowly is closed with 4002, as any
    other. Without USER it lists the disturbed users. Only in development mode, or with the setting
    chaos. Needs connections:disconnect.

    Examples:
    wsctl chaos u1 --delay 300ms --jitter 200ms --drop 5
    wsctl chaos u1 --cut-every 30s --duration 10m
    wsctl chaos u1 --slow 2000
    wsctl chaos u1 --cut
    wsctl chaos u1 --end
    """
    from wsctl.http.client import member, path_part

    given: dict[str, Any] = {
        "delay_ms": None if delay is None else delay * 1000,
        "jitter_ms": None if jitter is None else jitter * 1000,
        "drop": None if drop is None else drop / 100,
        "bytes_per_s": slow,
        "cut_every_s": cut_every,
        "cut_now": True if cut else None,
    }
    body = {name: value for name, value in given.items() if value is not None}
    output = environment.output
    if user is None:
        if body or end:
            raise click.UsageError("Name the USER.")
        rows = member(environment.client.get("/chaos"), "disturbed", list)
        output.rows(_COLUMNS, rows, empty="nobody is disturbed")
        return
    path = f"/users/{path_part(user)}/chaos"
    if end:
        if body:
            raise click.UsageError("--end cannot be combined with a disturbance.")
        answer = environment.client.request("DELETE", path)
        output.document(answer, f"the connections of {user} are disturbed no longer")
        return
    if not body:
        raise click.UsageError("Say how: --delay, --jitter, --drop, --slow, --cut-every or --cut.")
    body |= {"duration_s": duration, "direction": direction.replace("-", "_")}
    answer = environment.client.put(path, body)
    count = plural(answer["connected"], "connection")
    if set(given) & set(body) == {"cut_now"}:
        output.document(answer, f"cut {count} of {user}")
        return
    output.document(answer, f"{count} of {user} disturbed until {clock_time(answer['ends_at'])}")
