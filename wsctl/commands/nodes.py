"""``wsctl nodes``: the processes that serve together, and the drain of one."""

from __future__ import annotations

import time
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import dry_run_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.errors import Failed
from wsctl.formatting import plural
from wsctl.output.writer import Column
from wsctl.times import age


def _ago(value: Any) -> str:
    return age(value, time.time())


_NODES = [
    Column("NODE", "node", is_id=True),
    Column("STATE", "state"),
    Column("CONNECTIONS", "connections", right=True),
    Column("UP FOR", "since", _ago, right=True),
    Column("VERSION", "version"),
]


@group(table={"drain": "wsctl.commands.nodes:drain"}, invoke_without_command=True)
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
        environment.output.rows(_NODES, _listed(environment), empty="no nodes")


@command()
@click.argument("node", shell_complete=completion.nodes)
@dry_run_option("the node that would end")
@yes_option
@pass_environment
def drain(environment: Environment, node: str, dry_run: bool, yes: bool) -> None:
    """Drain a node, as SIGTERM does.

    Its clients reconnect elsewhere, and its process ends. A supervisor, such as systemd or that of
    --workers, starts it again. Asks first on a terminal; elsewhere, as in cron, it does not ask.

    Examples:
    wsctl nodes drain n2 --dry-run
    wsctl nodes drain n2
    wsctl nodes drain box/1 --yes
    """
    from wsctl.http.client import path_part

    if dry_run:
        rows = [row for row in _listed(environment) if row.get("node") == node]
        environment.output.rows(_NODES, rows, empty=f"no node {node}")
        if rows:
            environment.output.note("nothing was drained")
        return
    count = _connections_of(environment, node) if not yes else ""
    confirm(f"Drain {node}{count}?", yes=yes, otherwise="nothing was drained")
    answer = environment.client.post(f"/nodes/{path_part(node)}/drain", {})
    if answer.get("draining") is not True:
        raise Failed(f"{node} does not answer; it was not drained")
    environment.output.document(answer, f"{node} is draining")


def _listed(environment: Environment) -> list[dict[str, Any]]:
    from wsctl.http.client import member

    rows: list[dict[str, Any]] = member(environment.client.get("/nodes"), "nodes", list)
    return rows


def _connections_of(environment: Environment, node: str) -> str:
    """What a question adds to the name of a node: how many connections it has."""
    for row in _listed(environment):
        if row.get("node") == node and isinstance(row.get("connections"), int):
            return f" and its {plural(row['connections'], 'connection')}"
    return ""
