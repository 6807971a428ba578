"""``wsctl connections``, ``sessions`` and ``online``: lists of connections, sessions and users."""

from __future__ import annotations

import time
from typing import Any

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import (
    limit_option,
    node_option,
    organization_option,
    session_option,
    user_option,
)
from wsctl.commands.conversations import held_by
from wsctl.formatting import plain
from wsctl.output.writer import Column
from wsctl.times import age


def _ago(value: Any) -> str:
    return age(value, time.time())


def _rtt(value: Any) -> str:
    return "" if value is None else f"{value:.1f} ms"


_ONLINE = [
    Column("USER", "user_id", is_id=True),
    Column("NAME", "metadata.username", is_detail=True),
    Column("ROLE", "metadata.role", is_detail=True),
    Column("CONNECTIONS", "connections", right=True),
    Column("ONLINE FOR", "online_since", _ago, right=True),
]
_CONNECTIONS = [
    Column("CONNECTION", "connection_id", is_id=True),
    Column("USER", "user_id"),
    Column("NAME", "metadata.username", is_detail=True),
    Column("SESSION", "session_id"),
    Column("ENDPOINT", "endpoint", is_detail=True),
    Column("OPEN FOR", "connected_at", _ago, right=True),
    Column("ALIVE", "is_alive"),
    Column("RTT", "rtt_ms", _rtt, right=True, is_detail=True),
    Column("QUEUED", "queued_bytes", right=True, is_detail=True),
    Column("FROM", "remote_ip", is_detail=True),
    Column("NODE", "node", is_detail=True),
]
_SESSIONS = [
    Column("SESSION", "session_id", is_id=True),
    Column("STATE", "state"),
    Column("HOLDER", "holder"),
    Column("USERS", "names"),
    Column("CONNECTIONS", "connections", right=True),
    Column("OFFSET", "offset", plain, right=True),
]


@command()
@node_option
@limit_option()
@pass_environment
def online(environment: Environment, node: str | None, limit: int | None) -> None:
    """List the users who are online.

    Examples:
    wsctl online
    wsctl online --limit 20 -o csv
    """
    rows = list(environment.client.pages("/online-users", "users", {"node": node}, limit))
    environment.output.rows(_ONLINE, rows, empty="no users online")


@command()
@user_option("Only this user's.")
@session_option("Only those in this session.")
@organization_option("Only this organization's.")
@click.option(
    "--endpoint", type=click.Choice(["chat", "session", "monitor"]), help="Only of this endpoint."
)
@node_option
@limit_option()
@pass_environment
def connections(
    environment: Environment,
    user: str | None,
    session: str | None,
    organization: str | None,
    endpoint: str | None,
    node: str | None,
    limit: int | None,
) -> None:
    """List open connections; filters can be combined.

    Examples:
    wsctl connections
    wsctl connections --user u1
    wsctl connections --session s1 -o json
    wsctl connections --endpoint monitor
    wsctl connections --node n2
    """
    query = {
        "user_id": user,
        "session_id": session,
        "organization_id": organization,
        "endpoint": endpoint,
        "node": node,
    }
    rows = list(environment.client.pages("/connections", "connections", query, limit))
    show_connections(environment, rows, empty="no connections")


def show_connections(environment: Environment, rows: list[dict[str, Any]], *, empty: str) -> None:
    """Connections as a table, JSON or CSV."""
    environment.output.rows(_CONNECTIONS, rows, empty=empty)


@command()
@node_option
@click.option(
    "--state", type=click.Choice(["open", "pending", "closed"]), help="Only in this state."
)
@click.option("--holder", metavar="WHO", help="Only held so: none, ai, user, ai:NAME or user:ID.")
@limit_option()
@pass_environment
def sessions(
    environment: Environment,
    node: str | None,
    state: str | None,
    holder: str | None,
    limit: int | None,
) -> None:
    """List the active sessions with their users.

    With --state or --holder all sessions, also those without connections.

    Examples:
    wsctl sessions
    wsctl sessions --state pending --holder none
    wsctl sessions --holder ai:shop-ai -o json
    """
    query = {"node": node, "state": state, "holder": holder}
    rows = list(environment.client.pages("/sessions", "sessions", query, limit))
    if environment.output.is_table:
        rows = [
            {**row, "names": _names(row.get("users")), "holder": held_by(row.get("holder"))}
            for row in rows
        ]
    is_any = state is None and holder is None
    environment.output.rows(_SESSIONS, rows, empty="no active sessions" if is_any else "none")


def _names(users: Any) -> str:
    if not isinstance(users, list):
        return ""
    return ", ".join(
        str(user.get("username") or user.get("user_id")) if isinstance(user, dict) else str(user)
        for user in users
    )
