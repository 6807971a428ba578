"""``wsctl health``: may the server get traffic?"""

from __future__ import annotations

from typing import Any

import click

from wsctl.environment import Environment, pass_environment
from wsctl.exits import ExitStatus
from wsctl.output import Column
from wsctl.shape import command
from wsctl.text import flatten

_COLUMNS = [Column("CHECK", "check"), Column("RESULT", "result")]


def checks_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for the whole and one for each check."""
    checks = answer.get("checks")
    rows = flatten(checks) if isinstance(checks, dict) else {}
    return [
        {"check": "status", "result": answer["status"]},
        *({"check": name, "result": result} for name, result in rows.items()),
    ]


@command(
    """
    wsctl health
    wsctl health -q || echo "look at the server"
    wsctl health -o json
    """
)
@pass_environment
@click.pass_context
def health(ctx: click.Context, environment: Environment) -> None:
    """Ask the server for its health; needs no token.

    Exit code 0 when the status is ok, 1 when it is degraded or draining, 3 when nobody answers.
    With -q the exit code alone tells.
    """
    from wsctl.client import member

    output = environment.output
    answer = environment.client.get("/health", anonymous=True, accept=(200, 503))
    status = member(answer, "status", str)
    if output.format == "json":
        output.record(answer)
    elif not (output.quiet and output.is_table):
        output.rows(_COLUMNS, checks_of(answer), empty="")
    ctx.exit(ExitStatus.DONE if status == "ok" else ExitStatus.FAILED)
