"""``wsctl nodes``: the processes that serve together."""

from __future__ import annotations

import time
from typing import Any

import click

from wsctl.cli.click_base import group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.output.writer import Column
from wsctl.times import age


def _ago(value: Any) -> str:
    return age(value, time.time())


COLUMNS = [
    Column("NODE", "node", is_id=True),
    Column("STATE", "state"),
    Column("CONNECTIONS", "connections", right=True),
    Column("UP FOR", "since", _ago, right=True),
    Column("VERSION", "version"),
]


@group(table={"drain": "wsctl.commands.drain:drain_of_nodes"}, invoke_without_command=True)
@pass_environment
@click.pass_context
def nodes(ctx: click.Context, environment: Environment) -> None:
    """List the nodes: the processes that serve together.

    A node is up, draining (it is about to end) or lost (it has stopped without saying so; listed
    for a minute).

    Examples:
    wsctl nodes
    wsctl nodes -o json
    wsctl nodes drain n2
    """
    if ctx.invoked_subcommand is None:
        environment.output.rows(COLUMNS, listed(environment), empty="no nodes")


def listed(environment: Environment) -> list[dict[str, Any]]:
    """The nodes as the server lists them."""
    from wsctl.http.client import member

    rows: list[dict[str, Any]] = member(environment.client.get("/nodes"), "nodes", list)
    return rows
