"""``wsctl conversations`` and ``why-unread``: sessions of a user, and what is unread there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option
from wsctl.formatting import plural
from wsctl.http.client import path_part
from wsctl.output.writer import Column, to_json
from wsctl.times import day_time

PAGE = 100
"""Conversations in one request."""
STATES = ("open", "pending", "closed")


def held_by(holder: Any) -> str:
    """A holder for people."""
    return "-" if not isinstance(holder, dict) else f"{holder.get('type')} {holder.get('id')}"


_CONVERSATIONS = [
    Column("SESSION", "session_id", is_id=True),
    Column("UNREAD", "unread", right=True),
    Column("STATE", "state"),
    Column("HOLDER", "holder"),
    Column("TITLE", "title"),
    Column("READ TO", "read", right=True, is_detail=True),
    Column("LAST MESSAGE", "at", day_time, is_detail=True),
    Column("FROM", "sender", is_detail=True),
]
_UNREAD = [
    Column("SESSION", "session_id", is_id=True),
    Column("OFFSET", "offset", right=True),
    Column("TIME", "at", day_time, is_id=True),
    Column("FROM", "sender"),
    Column("MESSAGE ID", "message_id", is_detail=True, is_id=True),
]


@command()
@click.argument("user", shell_complete=completion.users)
@click.option("--state", type=click.Choice(STATES), help="Only sessions in this state.")
@limit_option(20)
@pass_environment
def conversations(environment: Environment, user: str, state: str | None, limit: int) -> None:
    """List the conversations of a user.

    Sessions that the user is a member of, has joined by a claim of the token, or has written in;
    newest activity first, with the number of messages that are unread to the user.

    Examples:
    wsctl conversations u1
    wsctl conversations u1 --state pending --limit 100
    wsctl conversations u1 -o json
    """
    found, last = _pages(environment, f"/users/{path_part(user)}/conversations",
                         "conversations", limit, {"state": state})  # fmt: skip
    output = environment.output
    if output.format == "json":
        output.data(to_json(found, indent=2) + "\n")
        return
    rows = [_row(each) for each in found] if output.is_table else found
    output.rows(_CONVERSATIONS, rows, empty=f"{user} has no conversations")
    if output.is_table and found:
        total = last.get("total")
        shown = plural(len(found), "conversation")
        if len(found) != total:
            shown = f"{len(found)} of {total} conversations"
        output.note(f"{shown}, {last.get('unread_total')} unread in all")


@command(name="why-unread")
@click.argument("user", shell_complete=completion.users)
@click.option(
    "--messages",
    type=click.IntRange(1, 100),
    default=20,
    metavar="N",
    help="At most N messages of a session. Default: 20.",
)
@limit_option(20)
@pass_environment
def why_unread(environment: Environment, user: str, messages: int, limit: int) -> None:
    """Show each message that is unread to a user.

    And of each session the read position that holds them back. A position moves when one of the
    user's devices says so, or when the user writes. Own messages, other types than new_message,
    deleted ones and those for others do not count.

    Examples:
    wsctl why-unread u1
    wsctl why-unread u1 --messages 5 -o json
    """
    found, last = _pages(environment, f"/users/{path_part(user)}/unread", "sessions", limit,
                         {"messages": messages})  # fmt: skip
    output = environment.output
    if output.format == "json":
        output.data(to_json(found, indent=2) + "\n")
        return
    rows = [
        {"session_id": each["session_id"], **message}
        for each in found
        for message in each.get("messages") or ()
    ]
    if not output.is_table:
        output.rows(_UNREAD, rows, empty="")
        return
    if not found:
        output.note(f"nothing is unread to {user}")
        return
    for each in found:
        _show_session(environment, user, each)
    if len(found) != last.get("total"):
        output.note(f"{len(found)} of {last.get('total')} sessions; more with --limit")


def _show_session(environment: Environment, user: str, each: Mapping[str, Any]) -> None:
    output, counted = environment.output, each.get("messages") or []
    moved = each.get("read_at")
    output.line(
        f"{each['session_id']}: {plural(each['unread'], 'message')} unread, as {user} has read"
        f" up to offset {each['read_offset']}" + (f", since {day_time(moved)}" if moved else ""),
        bold=True,
    )
    if counted:
        output.data(output.table(_UNREAD[1:], counted))
    rest = each["unread"] - len(counted)
    if rest > 0:
        output.line(f"and {rest} more, or no longer stored", indent=2)
    output.line("")


def _pages(
    environment: Environment, path: str, name: str, limit: int, query: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Up to ``limit`` items of a list, and the last page."""
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {}
    for page in environment.client.whole_pages(path, name, query, limit, PAGE):
        found += page[name]
    return found, page


def _row(each: Mapping[str, Any]) -> dict[str, Any]:
    last = each.get("last_message") or {}
    sender = last.get("sender") or {}
    return {
        **{name: each.get(name) for name in ("session_id", "unread", "state", "title")},
        "holder": held_by(each.get("holder")),
        "read": f"{each.get('read_offset')}/{each.get('offset')}",
        "at": last.get("created_at"),
        "sender": sender.get("username") or sender.get("user_id"),
    }
