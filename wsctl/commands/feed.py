"""``wsctl notifications feed``: the notifications that a user has got by socket."""

from __future__ import annotations

from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option
from wsctl.http.client import path_part
from wsctl.output.writer import Column, to_json
from wsctl.times import day_time

PAGE = 100
"""Largest page of the feed."""
_FEED = [
    Column("NOTIFICATION", "id", is_id=True),
    Column("TIME", "timestamp", day_time, is_id=True),
    Column("TYPE", "type"),
    Column("TITLE", "title"),
    Column("READ", "read_at", lambda value: day_time(value) if value else "no"),
]


@command()
@click.argument("user", shell_complete=completion.users)
@click.option("--unread", is_flag=True, help="Only those that are unread.")
@click.option("--archived", is_flag=True, help="Those that are archived, instead of all others.")
@limit_option(20)
@pass_environment
def feed(environment: Environment, user: str, unread: bool, archived: bool, limit: int) -> None:
    """List the notifications that a user has got.

    As in the user's own centre of notifications, newest first: what came by socket, in the user's
    language, with what was read.

    Examples:
    wsctl notifications feed u1
    wsctl notifications feed u1 --unread -o json
    """
    query = {"unread": "true" if unread else None, "archived": "true" if archived else None}
    output = environment.output
    found: list[Any] = []
    last: dict[str, Any] = {}
    path = f"/users/{path_part(user)}/notifications"
    for last in environment.client.whole_pages(path, "notifications", query, limit, PAGE):
        found += last["notifications"]
    if output.format == "json":
        output.data(to_json(found, indent=2) + "\n")
        return
    output.rows(_FEED, found, empty="no notifications")
    if output.is_table:
        output.note(f"{len(found)} of {last.get('total')}; {last.get('unread')} unread in all")
