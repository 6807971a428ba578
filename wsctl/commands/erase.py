"""``wsctl erase``: remove what is stored about a user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import dry_run_option, yes_option
from wsctl.cli.prompts import confirm, is_asked
from wsctl.formatting import plural
from wsctl.output.writer import Column

PATIENCE_S = 3600.0
_ANONYMOUS = "stays, without the id"
NOTES = {
    **dict.fromkeys(("audit", "revocations", "user_organizations"), "stays"),
    **dict.fromkeys(("notifications", "tasks", "task_history"), _ANONYMOUS),
    "conversation_changes": "visits only; changes of sessions stay",
}
"""What becomes of rows that the server exports, but does not delete."""

_COLUMNS = [
    Column("TABLE", "table"),
    Column("ROWS", "rows", lambda rows: f"{rows:,}", right=True),
    Column("", "note"),
]


@command()
@click.argument("user", shell_complete=completion.users)
@dry_run_option("how many rows there are")
@yes_option
@pass_environment
def erase(environment: Environment, user: str, dry_run: bool, yes: bool) -> None:
    """Erase what is stored about a user.

    Contacts, inbox, notifications, read positions and the like are deleted; the user's messages in
    sessions are replaced by their deleted form. The audit trail, revocations, the organization and
    memberships in sessions stay. It cannot be undone: wsctl export user-data saves it before. Shows
    the rows and asks first; without a terminal, as in cron, it needs --yes. One that was
    interrupted goes on in the server, and a second one waits for it. Needs users:erase.

    Examples:
    wsctl erase u1 --dry-run
    wsctl erase u1
    wsctl erase u1 --yes -o json
    """
    from wsctl.http.client import member, path_part

    path = f"/users/{path_part(user)}/data"
    if not dry_run and not yes and not is_asked(yes):
        raise click.UsageError("Without a terminal to ask on, give --yes.")
    if not yes:
        _preview(environment, path, user)
    if dry_run:
        environment.output.note("nothing was erased")
        return
    confirm(f"Erase the data of {user}?", yes=yes, otherwise="nothing was erased")
    answer = environment.client.request("DELETE", path, patience_s=PATIENCE_S)
    erased: Mapping[str, int] = member(answer, "erased", dict)
    count = sum(erased.values())
    tables = plural(sum(bool(rows) for rows in erased.values()), "table")
    environment.output.document(answer, f"erased {plural(count, 'row')} of {user} in {tables}")


def _preview(environment: Environment, path: str, user: str) -> None:
    """Show how many rows each table has."""
    counts = Counter(str(line.get("table")) for line in environment.client.lines(path))
    rows = [
        {"table": table, "rows": count, "note": NOTES.get(table, "")}
        for table, count in sorted(counts.items())
    ]
    environment.output.rows(_COLUMNS, rows, empty=f"nothing is stored about {user}")
