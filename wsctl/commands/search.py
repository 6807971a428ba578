"""``wsctl search``: messages of sessions by their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option, session_option
from wsctl.output.writer import Column, to_json
from wsctl.times import day_time

PAGE = 50
"""Largest page of the API."""

_FOUND = [
    Column("TIME", "timestamp", day_time, is_id=True),
    Column("SESSION", "session_id", is_id=True),
    Column("OFFSET", "offset", str, right=True, is_detail=True),
    Column("FROM", "sender"),
    Column("MESSAGE", "snippet"),
]


@command()
@click.argument("query", metavar="TEXT")
@session_option("Only in this session.")
@limit_option(20)
@pass_environment
def search(environment: Environment, query: str, session: str | None, limit: int) -> None:
    """Find messages of sessions by their text.

    The newest first. A message is found if it has all words of TEXT, in any order; upper and lower
    case do not count. Words of two letters are found at the beginning of words only. What was sent
    in the last two seconds may be missing.

    Examples:
    wsctl search refund
    wsctl search "order arrived" --session s1
    wsctl search 退款 --limit 100 -o json
    """
    messages = _pages(environment, query, session, limit)
    output = environment.output
    if output.format == "json":
        output.data(to_json(messages, indent=2) + "\n")
        return
    rows = [_row(message) for message in messages] if output.is_table else messages
    output.rows(_FOUND, rows, empty=f"no message with {query!r}")


def _pages(
    environment: Environment, query: str, session: str | None, limit: int
) -> list[dict[str, Any]]:
    asked = {"query": query, "session_id": session}
    pages = environment.client.whole_pages("/search", "messages", asked, limit, PAGE)
    return [message for page in pages for message in page["messages"]]


def _row(message: Mapping[str, Any]) -> dict[str, Any]:
    sender = (message.get("message") or {}).get("sender") or {}
    return {**message, "sender": sender.get("username") or sender.get("user_id")}
