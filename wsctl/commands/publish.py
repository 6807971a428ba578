"""``wsctl broadcast`` and ``send``: push a message to everybody, a user or a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from wsctl.environment import Environment, pass_environment
from wsctl.shape import command, read_stdin
from wsctl.times import Duration

ANNOUNCEMENT = "announcement"
# Types of the protocol that may be pushed through the API; their fields stand at the top of the
# body, those of all other types under ``data``.
_BUILT_IN = frozenset(
    {"new_message", "typing", "message_status_update", "ai_processing_status", "user_status_update"}
)


def content_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is said: the arguments that both commands share."""
    for decorate in reversed(
        (
            click.argument("text", required=False),
            click.option(
                "--type", "type_", metavar="T", help=f"Type of the push. Default: {ANNOUNCEMENT}."
            ),
            click.option(
                "--data",
                metavar="JSON",
                help="Its data instead of a text; - reads it from standard input.",
            ),
            click.option("--keep", is_flag=True, help="Keep it for those who come back later."),
            click.option(
                "--ttl", type=Duration(), metavar="AGE", help="With --keep: for how long, as 1h."
            ),
        )
    ):
        function = decorate(function)
    return function


def body_of(
    text: str | None, type_: str | None, data: str | None, keep: bool, ttl: float | None
) -> dict[str, Any]:
    """The body of the API call; exits 2 for what contradicts itself or is no JSON."""
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
        raise ValueError(f"{constant} is no JSON")

    text = read_stdin() if data == "-" else data
    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--data") from None


def publish(environment: Environment, path: str, body: dict[str, Any], whom: str) -> None:
    """Post it and say how many got it."""
    answer = environment.client.post(path, body)
    counts = [f"{answer[key]} {key}" for key in ("matched", "sent", "failed") if key in answer]
    kept = f"; kept in {answer['stream']} as {answer['offset']}" if answer.get("stream") else ""
    environment.output.document(
        answer, f"{answer.get('message_id', 'message')} to {whom}: {', '.join(counts)}{kept}"
    )


@command(
    """
    wsctl broadcast "Maintenance at 22:00"
    wsctl broadcast --role manager "Please log in again"
    wsctl broadcast --type price_changed --data '{"sku": 7}'
    echo '{"sku": 7}' | wsctl broadcast --type price_changed --data -
    """
)
@content_options
@click.option("--exclude", multiple=True, metavar="U", help="Leave this user out; repeatable.")
@click.option("--organization", metavar="O", help="Only this organization.")
@click.option("--role", metavar="R", help="Only users of this role.")
@pass_environment
def broadcast(
    environment: Environment,
    /,
    exclude: tuple[str, ...],
    organization: str | None,
    role: str | None,
    **content: Any,
) -> None:
    """Send a message to everybody who is connected.

    TEXT arrives as an `announcement` with `data: {"text": TEXT}`.
    """
    body = body_of(**content)
    if exclude:
        body["exclude_users"] = list(exclude)
    if organization:
        body["organization_id"] = organization
    if role:
        body["role"] = role
    publish(environment, "/broadcast", body, "everybody" if len(body) == 2 else "those chosen")


@command(
    """
    wsctl send --user u1 "Your report is ready"
    wsctl send --session s1 --type new_message "A colleague takes over now"
    wsctl send --user u1 --keep --ttl 24h "Call me back"
    """
)
@content_options
@click.option("--user", metavar="U", help="To all connections of this user.")
@click.option("--session", metavar="S", help="To everybody in this session.")
@pass_environment
def send(
    environment: Environment, /, user: str | None, session: str | None, **content: Any
) -> None:
    """Send a message to one user or one session.

    TEXT arrives as an `announcement` with `data: {"text": TEXT}`; with --type new_message it
    is a message of the conversation.
    """
    from wsctl.client import path_part

    if (user is None) == (session is None):
        raise click.UsageError("Give either --user or --session.")
    body = body_of(**content)
    if user is not None:
        publish(environment, f"/users/{path_part(user)}/messages", body, f"user {user}")
    elif session is not None:
        publish(environment, f"/sessions/{path_part(session)}/messages", body, f"session {session}")
