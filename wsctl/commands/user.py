"""``wsctl user``: everything about one user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import NotFound, NotPermitted
from wsctl.formatting import plural
from wsctl.output.writer import Output

_LATEST = 5
"""Number of notifications shown."""


@command()
@click.argument("user", shell_complete=completion.users)
@pass_environment
def user(environment: Environment, user: str) -> None:
    """Show a user with connections, sessions and contacts.

    Also the latest notifications. Parts that the token may not read are left out, with a note.

    Examples:
    wsctl user u1
    wsctl user u1 -o json
    """
    from wsctl.http.client import member, path_part

    path = f"/users/{path_part(user)}"
    answer = environment.client.get(f"{path}/connections")
    found: dict[str, Any] = {
        "user_id": user,
        "connections": member(answer, "connections", list),
        "contacts": _allowed(environment, f"{path}/contacts", {}),
        "notifications": _allowed(
            environment, "/notifications", {"user_id": user, "limit": _LATEST}
        ),
    }
    if found["notifications"] is not None:
        found["notifications"] = member(found["notifications"], "notifications", list)
    if environment.output.is_table:
        _show(environment, found)
    else:
        environment.output.record(found)


def _allowed(environment: Environment, path: str, query: Mapping[str, Any]) -> Any:
    """The answer; None if the token lacks the permission."""
    try:
        return environment.client.get(path, query)
    except (NotPermitted, NotFound):
        return None


def _show(environment: Environment, found: Mapping[str, Any]) -> None:
    from wsctl.commands import contacts, notify
    from wsctl.commands.connections import show_connections

    output, connections = environment.output, found["connections"]
    output.line(_headline(found["user_id"], connections, found["contacts"]), bold=True)
    if connections:
        show_connections(environment, connections, empty="")
    sessions = dict.fromkeys(name for each in connections for name in each.get("sessions") or ())
    if sessions:
        output.line(f"sessions: {', '.join(sessions)}", indent=10)
    if found["contacts"] is not None:
        known = {row["name"]: row["value"] for row in contacts.rows_of(found["contacts"])}
        known.pop("organization")  # is in the first line
        ways = [f"{name} {value}" for name, value in known.items() if value != "-"]
        output.line(f"contacts: {', '.join(ways) or 'none'}", indent=10)
    if found["notifications"]:
        output.line("")
        notify.show_notifications(environment, found["notifications"])
    elif found["notifications"] is not None:
        output.line("notifications: none")
    _note_gaps(output, found)


def _headline(
    user: str, connections: list[dict[str, Any]], contact: Mapping[str, Any] | None
) -> str:
    """Id, organization and what the newest connection's token says of the user."""
    organization = (contact or {}).get("organization_id")
    if not connections:
        belongs = f"  organization {organization}" if organization else ""
        return f"{user}{belongs}  offline"
    about = connections[-1].get("metadata") or {}
    organization = organization or about.get("organization_id")
    said = (
        about.get("username"),
        f"role {about.get('role')}",
        f"organization {organization}" if organization else None,
        f"online with {plural(len(connections), 'connection')}",
    )
    return "  ".join([user, *(text for text in said if text)])


def _note_gaps(output: Output, found: Mapping[str, Any]) -> None:
    for name in ("contacts", "notifications"):
        if found[name] is None:
            output.note(f"{name}: the token may not read them")
