"""``wsctl webhooks``: undelivered webhook events."""

from __future__ import annotations

from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option
from wsctl.formatting import plural
from wsctl.http.client import path_part
from wsctl.output.writer import Column, to_json
from wsctl.times import clock_time

_DELIVERIES = [
    Column("DELIVERY", "delivery_id"),
    Column("HOST", "host"),
    Column("EVENT", "event"),
    Column("STATE", "state"),
    Column("TRIES", "attempts", right=True),
    Column("NEXT TRY", "next_attempt_at", lambda value: clock_time(value) if value else ""),
    Column("LAST ANSWER", "detail", is_detail=True),
]


@group(
    table={
        "list": "wsctl.commands.webhooks:listing",
        "show": "wsctl.commands.webhooks:show",
        "retry": "wsctl.commands.webhooks:retry",
    }
)
def webhooks() -> None:
    """Show and retry undelivered webhook events.

    Examples:
    wsctl webhooks list --state failed
    wsctl webhooks retry --all
    """


@command()
@click.option(
    "--state",
    type=click.Choice(["pending", "failed"]),
    metavar="STATE",
    help="pending (retried automatically) or failed (given up).",
)
@click.option(
    "--event",
    metavar="NAME",
    shell_complete=completion.events,
    help="Only this event, such as user_connected.",
)
@limit_option(20)
@pass_environment
def listing(environment: Environment, state: str | None, event: str | None, limit: int) -> None:
    """List the undelivered events, newest first.

    Examples:
    wsctl webhooks list
    wsctl webhooks list --state failed -o json
    """
    query = {"state": state, "event": event}
    found = list(environment.client.pages("/webhooks/deliveries", "deliveries", query, limit))
    environment.output.rows(_DELIVERIES, found, empty="no undelivered events")


@command()
@click.argument("delivery_id", shell_complete=completion.webhook_deliveries())
@pass_environment
def show(environment: Environment, delivery_id: str) -> None:
    """Show one event and its latest attempt.

    Examples:
    wsctl webhooks show hook_01hk153x00h9v3t7n2c4d
    """
    document = environment.client.get(f"/webhooks/deliveries/{path_part(delivery_id)}")
    output = environment.output
    if not output.is_table:
        output.record(document)
        return
    number = document.get("webhook")
    whose = "webhook no longer configured" if number is None else f"webhook {number}"
    output.line(f"{document['delivery_id']}  {document['event']} to {document['host']} ({whose})")
    output.line(f"created {document['created_at']}, {document['state']}{_next(document)}")
    output.line(f"tries: {document['attempts']}; the latest: {document['detail'] or 'none yet'}")
    output.line(to_json(document["body"]))


def _next(document: dict[str, Any]) -> str:
    at = document.get("next_attempt_at")
    return f", next try {clock_time(at)}" if at else ""


@command()
@click.argument(
    "delivery_ids",
    nargs=-1,
    metavar="[ID]...",
    shell_complete=completion.webhook_deliveries("failed"),
)
@click.option("--all", "is_all", is_flag=True, help="All failed events.")
@pass_environment
def retry(environment: Environment, delivery_ids: tuple[str, ...], is_all: bool) -> None:
    """Retry failed events.

    Examples:
    wsctl webhooks retry hook_01hk153x00h9v3t7n2c4d
    wsctl webhooks retry --all
    """
    if is_all == bool(delivery_ids):
        raise click.UsageError("Give ids, or --all.")
    paths = [f"/{path_part(each)}" for each in delivery_ids] or [""]
    answers = [environment.client.post(f"/webhooks/deliveries{path}/retry", {}) for path in paths]
    retried = sum(answer["retried"] for answer in answers)
    environment.output.document({"retried": retried}, f"{plural(retried, 'event')} retried")
