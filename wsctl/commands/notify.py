"""``wsctl notify`` and ``wsctl notifications``: send notifications and follow their delivery."""

from __future__ import annotations

import json
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import (
    limit_option,
    organization_option,
    role_option,
    session_option,
    user_option,
    yes_option,
)
from wsctl.cli.prompts import confirm
from wsctl.errors import BadUsage, Failed
from wsctl.http.client import member, path_part
from wsctl.output.writer import Column
from wsctl.times import Duration, clock_time, date_time, day_time

_DELIVERIES = [
    Column("CHANNEL", "channel"),
    Column("USER", "user_id"),
    Column("STATE", "state"),
    Column("TRIES", "tries", right=True),
    Column("NEXT TRY", "next_attempt_at", lambda value: clock_time(value) if value else ""),
    Column("LAST ANSWER", "detail", is_detail=True),
]
_NOTIFICATIONS = [
    Column("NOTIFICATION", "notification_id", is_id=True),
    Column("CREATED", "created_at", day_time, is_id=True),
    Column("TYPE", "type"),
    Column("TITLE", "title"),
    Column("DELIVERIES", "states"),
]
_STATES = (
    *("pending", "sending", "sent", "delivered", "read", "failed", "cancelled", "expired"),
    *("not_configured", "no_address"),
)


_REASONS = {
    "switched_off": "switched off by the user",
    "quiet_hours": "waits for the end of the quiet hours",
    "digest": "waits to be sent with others",
    "daily_digest": "waits for the daily digest",
}
"""Why a delivery was not sent, or not yet."""
_NUMBERS = frozenset({"used", "quota", "budget", "attempt"})
"""Parameters of templates that are numbers; a period such as 2024, or an id, is text."""


def _parameter(text: str) -> tuple[str, Any]:
    """``name=value``; the value as a number where the parameter is one, else as text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r}: write name=value", param_hint="--param")
    if name not in _NUMBERS:
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # the server reports the error


@command()
@click.argument("users", nargs=-1, metavar="[USER]...", shell_complete=completion.users)
@session_option("All users of this session.")
@organization_option("All users of this organization.")
@role_option("All users with this role.")
@click.option("--broadcast", is_flag=True, help="All users.")
@click.option("--title", metavar="T", help="Title.")
@click.option("--message", metavar="M", help="Text.")
@click.option(
    "--type",
    "type_",
    type=click.Choice(["info", "success", "warning", "error", "urgent"]),
    metavar="TYPE",
    help="info, success, warning, error or urgent; decides the channels.",
)
@click.option("--action-url", metavar="URL", help="Address that a click opens.")
@click.option(
    "--template",
    metavar="NAME",
    help="Template to use instead of a text.",
    shell_complete=completion.templates,
)
@click.option("--param", multiple=True, metavar="K=V", help="Template parameter; repeatable.")
@click.option(
    "--channel",
    multiple=True,
    type=click.Choice(["websocket", "email", "sms", "push"]),
    metavar="NAME",
    help="websocket, email, sms or push, instead of the default channels; repeatable.",
)
@click.option("--expires", type=Duration(), help="Deliver only within this time, as 2h.")
@yes_option
@pass_environment
def notify(
    environment: Environment,
    /,
    users: tuple[str, ...],
    session: str | None,
    organization: str | None,
    role: str | None,
    broadcast: bool,
    type_: str | None,
    param: tuple[str, ...],
    channel: tuple[str, ...],
    expires: float | None,
    yes: bool,
    **texts: str | None,
) -> None:
    """Send a notification through the channels of its type.

    It is accepted once it is stored; wsctl notifications show ID shows its deliveries. Asks first
    on a terminal when it goes to an organization, a role or all users.

    Examples:
    wsctl notify u1 u2 --title Maintenance --message "Tonight at 22:00"
    wsctl notify u1 --type urgent --title Budget --message "Used up"
    wsctl notify u1 --template feature_update --param summary="New plots"
    wsctl notify --organization org_123 --title Hello --message Welcome
    """
    recipients: dict[str, Any] = {
        "user_ids": list(users) or None,
        "session_id": session,
        "organization_id": organization,
        "role": role,
        "broadcast": broadcast or None,
    }
    chosen = {name: value for name, value in recipients.items() if value is not None}
    if len(chosen) != 1:
        raise click.UsageError(
            "Give users, or one of --session, --organization, --role and --broadcast."
        )
    body: dict[str, Any] = {name: value for name, value in texts.items() if value is not None}
    if ("template" in body) == ("title" in body or "message" in body):
        raise click.UsageError("Give --title and --message, or --template.")
    if param and "template" not in body:
        raise click.UsageError("--param is for --template.")
    if "template" in body:
        body["params"] = dict(map(_parameter, param))
    if type_ is not None:
        body["type"] = type_
    if channel:
        body["channels"] = list(channel)
    if expires is not None:
        body["expires_in_s"] = expires
    for name in ("organization_id", "role", "broadcast"):
        if name in chosen:
            whom = "all users" if broadcast else f"{name.removesuffix('_id')} {chosen[name]}"
            question = f"Notify {whom}, connected or not?"
            confirm(question, yes=yes, otherwise="nothing was sent")
    try:
        answer = environment.client.post("/notify", {**chosen, **body})
    except Failed as error:
        raise _with_template(error, body.get("template")) from None
    if not environment.output.is_table:
        environment.output.record(answer)
        return
    environment.output.line(str(answer.get("notification_id") or "no new notification"))
    _show_deliveries(environment, answer)


def _with_template(error: Failed, template: str | None) -> Failed:
    """The server's error, with similar template names."""
    if template and template not in completion.TEMPLATES and "unknown template" in error.message:
        from difflib import get_close_matches

        near = get_close_matches(template, completion.TEMPLATES, n=2)
        hint = f"Did you mean {' or '.join(near)}?" if near else "See: wsctl notify --help"
        return BadUsage(f"unknown template {template!r}. {hint}")
    return error


def _show_deliveries(environment: Environment, document: dict[str, Any]) -> None:
    rows = [
        {
            **delivery,
            "tries": len(delivery.get("attempts") or ()),
            "detail": _REASONS.get(
                str(delivery.get("reason")),
                (delivery.get("attempts") or [{}])[-1].get("detail"),
            ),
        }
        for delivery in member(document, "deliveries", list)
    ]
    environment.output.rows(_DELIVERIES, rows, empty="no deliveries")


@group(
    table={
        "list": "wsctl.commands.notify:listing",
        "show": "wsctl.commands.notify:show",
        "feed": "wsctl.commands.feed:feed",
        "retry": "wsctl.commands.notify:retry",
        "cancel": "wsctl.commands.notify:cancel",
    }
)
def notifications() -> None:
    """Show, retry and cancel notifications.

    Examples:
    wsctl notifications list --state failed
    wsctl notifications show notify_01hk153x00h9v3t7n2c4c
    """


@command()
@user_option("Only those for this user.")
@click.option(
    "--state",
    type=click.Choice(_STATES),
    metavar="STATE",
    help="Only with a delivery in this state: failed, pending, read and so on.",
)
@limit_option(20)
@pass_environment
def listing(environment: Environment, user: str | None, state: str | None, limit: int) -> None:
    """List notifications, newest first.

    Examples:
    wsctl notifications list
    wsctl notifications list --state failed -o json
    """
    query = {"user_id": user, "state": state}
    found = list(environment.client.pages("/notifications", "notifications", query, limit))
    show_notifications(environment, found)


def show_notifications(environment: Environment, found: list[dict[str, Any]]) -> None:
    """Notifications as a table, JSON or CSV."""
    if environment.output.is_table:
        found = [{**each, "states": _states(each)} for each in found]
    environment.output.rows(_NOTIFICATIONS, found, empty="no notifications")


def _states(notification: dict[str, Any]) -> str:
    states = notification.get("states") or {}
    return ", ".join(f"{count} {state}" for state, count in states.items() if count)


@command()
@click.argument("notification_id", shell_complete=completion.notifications())
@pass_environment
def show(environment: Environment, notification_id: str) -> None:
    """Show one notification with each delivery and attempt.

    Examples:
    wsctl notifications show notify_01hk153x00h9v3t7n2c4c
    """
    document = environment.client.get(f"/notifications/{path_part(notification_id)}")
    output = environment.output
    if not output.is_table:
        output.record(document)
        return
    output.line(f"{document['notification_id']}  {document['type']}: {document['title']}")
    output.line(str(document["message"]))
    times = [date_time(document[name]) for name in ("created_at", "expires_at")]
    output.line("created {}, expires {}".format(*times))
    _show_deliveries(environment, document)
    for delivery in member(document, "deliveries", list):
        for number, attempt in enumerate(delivery.get("attempts") or (), 1):
            output.line(
                f"{clock_time(attempt['at'])}  {delivery['channel']} to {delivery['user_id']},"
                f" try {number}: {attempt['outcome']}  {attempt['detail']}",
                indent=10,
            )


@command()
@click.argument("notification_id", shell_complete=completion.notifications("failed"))
@pass_environment
def retry(environment: Environment, notification_id: str) -> None:
    """Retry the failed deliveries of a notification.

    Examples:
    wsctl notifications retry notify_01hk153x00h9v3t7n2c4c
    """
    answer = environment.client.post(f"/notifications/{path_part(notification_id)}/retry", {})
    environment.output.document(answer, f"{_deliveries(answer['retried'])} retried")


@command()
@click.argument("notification_id", shell_complete=completion.notifications("pending"))
@yes_option
@pass_environment
def cancel(environment: Environment, notification_id: str, yes: bool) -> None:
    """Cancel the pending deliveries of a notification.

    Asks first on a terminal, as it cannot be undone.

    Examples:
    wsctl notifications cancel notify_01hk153x00h9v3t7n2c4c
    """
    confirm(f"Cancel the pending deliveries of {notification_id}?", yes=yes,
            otherwise="nothing was cancelled")  # fmt: skip
    answer = environment.client.post(f"/notifications/{path_part(notification_id)}/cancel", {})
    environment.output.document(answer, f"{_deliveries(answer['cancelled'])} cancelled")


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"
