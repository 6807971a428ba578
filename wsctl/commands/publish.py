"""``wsctl broadcast`` and ``send``: push a message to all users, one user or a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command, read_stdin
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import (
    dry_run_option,
    exclude_option,
    organization_option,
    role_option,
    session_option,
    user_option,
    yes_option,
)
from wsctl.cli.prompts import confirm, is_asked
from wsctl.formatting import plural
from wsctl.text import without_bom
from wsctl.times import Duration

ANNOUNCEMENT = "announcement"
# Types of the protocol that may be pushed through the API; their fields are at the top of the
# body, those of all other types under ``data``.
_BUILT_IN = frozenset(
    {"new_message", "typing", "message_status_update", "ai_processing_status", "user_status_update"}
)


def content_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arguments for the message, which both commands share."""
    for decorate in reversed(
        (
            click.argument("text", required=False),
            click.option(
                "--type",
                "type_",
                metavar="T",
                help=f"Type of the push. Default: {ANNOUNCEMENT}.",
                shell_complete=completion.push_types,
            ),
            click.option(
                "--data",
                metavar="JSON",
                help="Data instead of TEXT; - reads it from standard input.",
            ),
            click.option("--keep", is_flag=True, help="Store it for clients that connect later."),
            click.option("--ttl", type=Duration(), help="With --keep: for how long, as 1h."),
            dry_run_option("who would receive it"),
        )
    ):
        function = decorate(function)
    return function


def body_of(
    text: str | None, type_: str | None, data: str | None, keep: bool, ttl: float | None
) -> dict[str, Any]:
    """The body of the API call; raises usage errors for contradictions and invalid JSON."""
    if text is not None and data is not None:
        raise click.UsageError("Give TEXT or --data, not both.")
    if text is None and data is None and type_ is None:
        raise click.UsageError("Nothing to send: give TEXT, or --type with --data.")
    if ttl is not None and not keep:
        raise click.UsageError("--ttl is for --keep.")
    kind = type_ or ANNOUNCEMENT
    body: dict[str, Any] = {"type": kind}
    fields = {"text": text} if data is None else _parsed(data)
    if text is None and data is None:
        fields = {}
    if kind not in _BUILT_IN:
        body["data"] = fields
    elif kind == "new_message" and text is not None:
        body["content"] = text
    elif isinstance(fields, dict) and "type" not in fields:
        body.update(fields)
    else:
        raise click.UsageError(f"--data of {kind} must be an object with its fields.")
    if keep:
        body["keep"] = True
    if ttl is not None:
        body["ttl_s"] = int(ttl) if ttl.is_integer() else ttl
    return body


def _parsed(data: str) -> Any:
    import json

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    text = read_stdin() if data == "-" else without_bom(data)
    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--data") from None


def publish(environment: Environment, path: str, body: dict[str, Any], whom: str) -> None:
    """Post the message and print how many connections received it."""
    answer = environment.client.post(path, body)
    counts = [f"{answer[key]} {key}" for key in ("matched", "sent", "failed") if key in answer]
    kept = f"; kept in {answer['stream']} as {answer['offset']}" if answer.get("stream") else ""
    environment.output.document(
        answer, f"{answer.get('message_id', 'message')} to {whom}: {', '.join(counts)}{kept}"
    )


def preview(
    environment: Environment, target: dict[str, Any], body: dict[str, Any], role: str | None = None
) -> None:
    """Show who would receive the message, without sending it."""
    from wsctl.commands.messages import show_explanation

    show_explanation(environment, explained(environment, target, body, role))
    environment.output.note("nothing was sent")


def explained(
    environment: Environment, target: dict[str, Any], body: dict[str, Any], role: str | None = None
) -> dict[str, Any]:
    """The server's dry run; as it accepts one target only, ``role`` is filtered here."""
    body = {**body, "target": target}
    found: dict[str, Any] = environment.client.post("/messages/explain", body, changes=False)
    if role is None or target["type"] == "role":
        return found
    pages = environment.client.pages(
        "/connections", "connections", {"organization_id": target["id"]}
    )
    of_role = {each["connection_id"] for each in pages if each["metadata"]["role"] == role}
    meant = found["recipients"]
    hit = [each for each in meant if each["connection_id"] in of_role]
    missed = [{**each, "reason": "other_role"} for each in meant if each not in hit]
    return {**found, "matched": len(hit), "recipients": hit,
            "excluded": [*found["excluded"], *missed]}  # fmt: skip


@command()
@content_options
@exclude_option("Exclude this user; repeatable.")
@organization_option("Only this organization.")
@role_option("Only users of this role.")
@yes_option
@pass_environment
def broadcast(
    environment: Environment,
    /,
    exclude: tuple[str, ...],
    organization: str | None,
    role: str | None,
    yes: bool,
    dry_run: bool,
    **content: Any,
) -> None:
    """Send a message to all connected users.

    TEXT is sent as an `announcement` with `data: {"text": TEXT}`. Asks first on a terminal, with
    the number of connections that would receive it; elsewhere, as in cron, it does not ask.

    Examples:
    wsctl broadcast --dry-run "Maintenance at 22:00"
    wsctl broadcast "Maintenance at 22:00"
    wsctl broadcast --role manager "Please log in again"
    wsctl broadcast --organization org_123 --keep "Moved to gate 7"
    wsctl broadcast --type price_changed --data '{"sku": 7}'
    echo '{"sku": 7}' | wsctl broadcast --type price_changed --data -
    """
    body = body_of(**content)
    if exclude:
        body["exclude_users"] = list(exclude)
    narrowed = {"organization_id": organization, "role": role}
    chosen = {name: value for name, value in narrowed.items() if value}
    whom = "the chosen users" if chosen or exclude else "all users"
    if dry_run:
        preview(environment, _target(chosen), body, role)
        return
    if is_asked(yes or content["data"] == "-"):
        found = explained(environment, _target(chosen), body, role)
        count = plural(found["matched"], "connection")
        confirm(f"Send to {whom}: {count}?", yes=False, otherwise="nothing was sent")
    publish(environment, "/broadcast", {**body, **chosen}, whom)


def _target(chosen: dict[str, str]) -> dict[str, Any]:
    """The target: one organization, one role, or all; of both the organization."""
    for name, value in chosen.items():
        return {"type": name.removesuffix("_id"), "id": value}
    return {"type": "broadcast"}


@command()
@content_options
@user_option("To all connections of this user.")
@session_option("To all users in this session.")
@pass_environment
def send(
    environment: Environment,
    /,
    user: str | None,
    session: str | None,
    dry_run: bool,
    **content: Any,
) -> None:
    """Send a message to one user or one session.

    TEXT is sent as an `announcement` with `data: {"text": TEXT}`; with --type new_message it
    is a chat message.

    Examples:
    wsctl send --user u1 "Your report is ready"
    wsctl send --session s1 --type new_message "A colleague takes over now"
    wsctl send --user u1 --keep --ttl 24h "Call me back"
    """
    from wsctl.http.client import path_part

    if (user is None) == (session is None):
        raise click.UsageError("Give either --user or --session.")
    body = body_of(**content)
    kind, id_ = ("user", user) if user is not None else ("session", str(session))
    if dry_run:
        preview(environment, {"type": kind, "id": id_}, body)
        return
    publish(environment, f"/{kind}s/{path_part(str(id_))}/messages", body, f"{kind} {id_}")
