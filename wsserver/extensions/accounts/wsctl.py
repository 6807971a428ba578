"""``wsctl accounts``: accounts of messengers, and what they have not sent."""

from __future__ import annotations

from collections.abc import Iterator

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.formatting import plain, plural
from wsctl.http.client import path_part
from wsctl.output.writer import Column
from wsctl.times import clock_time, day_time

_ACCOUNTS = [
    Column("ACCOUNT", "account", is_id=True),
    Column("KIND", "kind"),
    Column("STATUS", "status"),
    Column("PENDING", "pending", right=True),
    Column("SENT", "sent", right=True),
    Column("FAILED", "failed", right=True),
    Column("LAST SENT", "last_sent_at", lambda value: day_time(value) if value else ""),
    Column("ORGANIZATION", "organization_id", is_detail=True),
]
_UNSENT = [
    Column("MESSAGE", "message_id", is_id=True),
    Column("AT", "at", clock_time),
    Column("STATE", "state"),
    Column("CONTACT", "contact"),
    Column("SENDER", "sender"),
    Column("ATTEMPTS", "attempts", right=True),
    Column("NEXT", "due_at", lambda value: clock_time(value) if value else ""),
    Column("WHY", "detail"),
    Column("SESSION", "session_id", is_detail=True),
]


def _names(server: completion.Server, _: click.Context) -> Iterator[completion.Offer]:
    for row in server.get("/accounts")["accounts"]:
        yield row["account"], f"{row['kind']}, {row['status']}"


_account_argument = click.argument("account", shell_complete=completion.from_server(_names))


@group(
    table={
        "show": "wsserver.extensions.accounts.wsctl:show",
        "outbox": "wsserver.extensions.accounts.wsctl:outbox",
        "retry": "wsserver.extensions.accounts.wsctl:retry",
    },
    invoke_without_command=True,
)
@pass_environment
@click.pass_context
def accounts(ctx: click.Context, environment: Environment) -> None:
    """List the accounts of messengers and their outboxes.

    Examples:
    wsctl accounts
    wsctl accounts outbox main
    wsctl accounts retry main
    """
    if ctx.invoked_subcommand is not None:
        return
    found = environment.client.get("/accounts")["accounts"]
    environment.output.rows(_ACCOUNTS, found, empty="no accounts")


@command()
@_account_argument
@pass_environment
def show(environment: Environment, account: str) -> None:
    """Show an account: its status, its configuration and its outbox.

    Examples:
    wsctl accounts show main
    wsctl accounts show main -o json
    """
    found = environment.client.get(f"/accounts/{path_part(account)}")
    if not environment.output.is_table:
        environment.output.record(found)
        return
    unsent = found.pop("unsent")
    for name, value in found.items():
        if value not in (None, []):
            shown = ", ".join(value) if isinstance(value, list) else plain(value)
            environment.output.line(f"{name}: {shown}")
    if unsent:
        environment.output.line(f"unsent: see wsctl accounts outbox {account}")


@command()
@_account_argument
@pass_environment
def outbox(environment: Environment, account: str) -> None:
    """List the messages that an account has not sent.

    The latest 100, newest first: they wait, or were given up. WHY is the last error.

    Examples:
    wsctl accounts outbox main
    """
    found = environment.client.get(f"/accounts/{path_part(account)}")
    environment.output.rows(_UNSENT, found["unsent"], empty="everything is sent")


@command()
@_account_argument
@pass_environment
def retry(environment: Environment, account: str) -> None:
    """Send again what an account has given up.

    Examples:
    wsctl accounts retry main
    """
    answer = environment.client.post(f"/accounts/{path_part(account)}/retry", {})
    shown = f"{plural(answer['retried'], 'message')} sent again"
    environment.output.document(answer, shown)
