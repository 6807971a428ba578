"""``wsctl disconnect``: close a user's connections."""

from __future__ import annotations

import sys

import click

from wsctl.environment import Environment, pass_environment
from wsctl.exits import Failed
from wsctl.output import plain
from wsctl.shape import command
from wsctl.text import printable


@command(
    """
    wsctl disconnect u1
    wsctl disconnect u1 --reason "password changed" --yes
    wsctl disconnect u1 --connection conn_01HXYZ
    """
)
@click.argument("user")
@click.option("--connection", metavar="ID", help="Only this one of the user's connections.")
@click.option("--reason", metavar="TEXT", help="Told to the client, at most 123 bytes.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_environment
def disconnect(
    environment: Environment, user: str, connection: str | None, reason: str | None, yes: bool
) -> None:
    """Close the connections of a user, or one of them.

    The clients are told not to come back by themselves (close code 4502). Asks first on a
    terminal; without one, as in cron, it does as told.
    """
    what = f"connection {connection} of {user}" if connection else f"all connections of {user}"
    if (
        not yes
        and sys.stdin is not None
        and sys.stdin.isatty()
        and not click.confirm(printable(f"Close {what}?"), err=True)
    ):
        raise Failed("nothing was closed")
    body = {"user_id": user}
    if connection:
        body["connection_id"] = connection
    if reason:
        body["reason"] = reason
    answer = environment.client.post("/users/disconnect", body)
    count = answer.get("disconnected", 0)
    environment.output.document(
        answer,
        f"closed {plain(count)} connection{'' if count == 1 else 's'} of {user}"
        if count
        else f"{user} had no such connection"
        if connection
        else f"{user} was not connected",
    )
