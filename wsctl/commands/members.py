"""``wsctl members``: the member list of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import dry_run_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.errors import NotFound, NotPermitted
from wsctl.formatting import plural
from wsctl.output.writer import Column

_COLUMNS = [
    Column("USER", "user_id", is_id=True),
    Column("NAME", "username", is_detail=True),
    Column("MEMBER", "member"),
    Column("CONNECTIONS HERE", "connections", right=True),
]
_MOST_NAMED = 5
"""Users named in a question; of the others only the number."""


def _users_option(name: str, help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        name,
        multiple=True,
        metavar="U[,U]",
        help=help_text,
        shell_complete=completion.listed(completion.users),
    )


@command()
@click.argument("session", shell_complete=completion.sessions)
@_users_option("--add", "Add this user; repeatable.")
@_users_option("--remove", "Remove this user; repeatable.")
@_users_option("--set", "Replace the list with these; repeatable.")
@click.option("--clear", is_flag=True, help="Empty the list.")
@dry_run_option("the resulting list")
@yes_option
@pass_environment
def members(
    environment: Environment,
    /,
    session: str,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    clear: bool,
    dry_run: bool,
    yes: bool,
    **others: tuple[str, ...],
) -> None:
    """Show or change the members of a session.

    Members may join without a token that names the session. A removed member leaves the session
    immediately, unless a token lets them in; on a terminal this needs confirmation. Of two
    changes to one list at the same time, the later one wins.

    Examples:
    wsctl members s1
    wsctl members s1 --add u1 --add u2
    wsctl members s1 --remove u3 --dry-run
    wsctl members s1 --set u1,u2 --yes
    """
    wanted, added, removed = _ids(others["set"]), _ids(add), _ids(remove)
    if sum(map(bool, (wanted, added or removed, clear))) > 1:
        raise click.UsageError("--set and --clear replace the list: give one of them alone.")
    if both := sorted(set(added) & set(removed)):
        raise click.UsageError(f"{both[0]} cannot be both added and removed.")
    if others["set"] and not wanted:
        raise click.UsageError("--set names no user; to empty the list, use --clear.")
    path = f"/sessions/{_part(session)}/members"
    old: list[str] = _list(environment.client.get(path))
    if not (wanted or added or removed or clear):
        _show(environment, session, old, [])
        return
    kept = [user for user in old if user not in removed]
    new = wanted or ([] if clear else list(dict.fromkeys([*kept, *added])))
    lost = [user for user in old if user not in new]
    if dry_run:
        _show(environment, session, new, lost)
        environment.output.note("nothing was changed")
        return
    if lost:
        confirm(f"Remove {_named(lost)} from the members of {session}?", yes=yes,
                otherwise="nothing was changed")  # fmt: skip
    answer = environment.client.put(path, {"user_ids": new})
    gained = len(set(new) - set(old))
    environment.output.document(
        answer,
        f"{session} has {plural(len(_list(answer)), 'member')}:"
        f" {gained} added, {len(lost)} removed",
    )


def _ids(given: Sequence[str]) -> list[str]:
    """The users of an option that is repeatable and may hold several, separated by commas."""
    names = (name.strip() for text in given for name in text.split(","))
    return list(dict.fromkeys(name for name in names if name))


def _list(answer: Any) -> list[str]:
    from wsctl.http.client import member

    users: list[str] = member(answer, "user_ids", list)
    return users


def _part(session: str) -> str:
    from wsctl.http.client import path_part

    return path_part(session)


def _named(users: Sequence[str]) -> str:
    named = ", ".join(users[:_MOST_NAMED])
    more = len(users) - _MOST_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _show(
    environment: Environment, session: str, users: Sequence[str], lost: Sequence[str]
) -> None:
    """Show the list; in a table also the users in the session who are not members."""
    output = environment.output
    if output.format == "json":
        document: dict[str, Any] = {"session_id": session, "user_ids": list(users)}
        output.record({**document, "removed": list(lost)} if lost else document)
        return
    here = {row["user_id"]: row for row in _here(environment, session)}
    rows = [
        {
            "user_id": user,
            "username": here.get(user, {}).get("username"),
            "member": "removed" if user in lost else "yes" if user in users else "no",
            "connections": here.get(user, {}).get("connections", 0),
        }
        for user in dict.fromkeys([*users, *lost, *here])
    ]
    output.rows(_COLUMNS, rows, empty=f"{session} has no members and no users")


def _here(environment: Environment, session: str) -> Iterable[dict[str, Any]]:
    """Users who have joined; empty if the session is unknown or the token may not read it."""
    from wsctl.http.client import member

    try:
        users: list[dict[str, Any]] = member(
            environment.client.get(f"/sessions/{_part(session)}"), "users", list
        )
    except (NotFound, NotPermitted):
        return []
    return users
