"""``wsctl disconnect``: close a user's connections."""

from __future__ import annotations

from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import dry_run_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.errors import Failed
from wsctl.formatting import plural


@command()
@click.argument("user", required=False, shell_complete=completion.users)
@click.option(
    "--connection",
    metavar="ID",
    help="Only this connection.",
    shell_complete=completion.connections,
)
@click.option("--reason", metavar="TEXT", help="Reason sent to the client, at most 123 bytes.")
@dry_run_option("the connections that would be closed")
@yes_option
@pass_environment
def disconnect(
    environment: Environment,
    user: str | None,
    connection: str | None,
    reason: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Close the connections of a user, or one connection.

    Clients get close code 4502 and do not reconnect by themselves, but their tokens stay valid:
    wsctl token revoke ends those. Asks first on a terminal; elsewhere, as in cron, it does not
    ask.

    Examples:
    wsctl disconnect u1 --dry-run
    wsctl disconnect u1
    wsctl disconnect u1 --reason "password changed" --yes
    wsctl disconnect --connection conn_01hk153x00h9v3t7n2c4d
    """
    from wsctl.commands.connections import show_connections

    if user is None:
        if connection is None:
            raise click.UsageError("Give USER or --connection.")
        user = _owner(environment, connection)
    if dry_run:
        rows = _hit(environment, user, connection)
        none = "has no such connection" if connection else "is not connected"
        show_connections(environment, rows, empty=f"{user} {none}")
        if rows:
            environment.output.note(f"{plural(len(rows), 'connection')}; nothing was closed")
        return
    what = f"connection {connection} of {user}" if connection else f"all connections of {user}"
    confirm(f"Close {what}?", yes=yes, otherwise="nothing was closed")
    given = {"user_id": user, "connection_id": connection, "reason": reason}
    answer = environment.client.post("/users/disconnect", {k: v for k, v in given.items() if v})
    count = answer.get("disconnected", 0)
    environment.output.document(
        answer,
        f"closed {plural(count, 'connection')} of {user}"
        if count
        else f"{user} had no such connection"
        if connection
        else f"{user} was not connected",
    )


def _owner(environment: Environment, connection: str) -> str:
    from wsctl.http.client import path_part

    found = environment.client.get(f"/connections/{path_part(connection)}")
    user = found.get("user_id")
    if not isinstance(user, str):
        raise Failed("the server's answer does not name the connection's user")
    return user


def _hit(environment: Environment, user: str, connection: str | None) -> list[dict[str, Any]]:
    rows = environment.client.pages("/connections", "connections", {"user_id": user})
    return [row for row in rows if connection in (None, row.get("connection_id"))]
