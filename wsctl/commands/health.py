"""``wsctl health``: the server's health checks."""

from __future__ import annotations

from typing import Any

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import ExitStatus
from wsctl.output.stats_fields import label, shown
from wsctl.output.wrapping import fold
from wsctl.output.writer import Column
from wsctl.text import flatten

DETAILS_WIDTH = 80 - len("connections   NOT OK   ")
"""Width of the details column, also in a pipe, where people read it too."""
_PEOPLE = [Column("CHECK", "check"), Column("RESULT", "result"), Column("DETAILS", "details")]
_FLAT = [Column("CHECK", "check"), Column("RESULT", "result")]


def people_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for the status, and one for each check with its measurements."""
    rows = [{"check": "status", "result": answer["status"], "details": ""}]
    for name, check in _checks(answer).items():
        details = (
            f"{label(key)} {shown(key, value)}"
            for key, value in check.items()
            if key != "ok" and value is not None
        )
        result = "ok" if check.get("ok") is True else "NOT OK"
        # A figure stays with its name: only the blanks between them are broken at.
        joined = ", ".join(detail.replace(" ", "\xa0") for detail in details)
        first, *more = (line.replace("\xa0", " ") for line in fold(joined, DETAILS_WIDTH))
        rows.append({"check": name, "result": result, "details": first})
        rows += [{"check": "", "result": "", "details": line} for line in more]
    return rows


def flat_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for the status, and one for every value of every check."""
    return [
        {"check": "status", "result": answer["status"]},
        *({"check": k, "result": v} for k, v in flatten(_checks(answer)).items()),
    ]


def _checks(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    checks = answer.get("checks")
    found = checks if isinstance(checks, dict) else {}
    return {name: check for name, check in found.items() if isinstance(check, dict)}


@command()
@pass_environment
@click.pass_context
def health(ctx: click.Context, environment: Environment) -> None:
    """Show the server's health; needs no token.

    Exit code 0 when the status is ok, 1 when it is degraded, starting or draining, 3 when no
    server answers. With -q it prints nothing.

    Examples:
    wsctl health
    wsctl health -q || echo "look at the server"
    wsctl health -o json
    """
    from wsctl.http.client import member

    output = environment.output
    answer = environment.client.get("/health", anonymous=True, accept=(200, 503))
    status = member(answer, "status", str)
    if output.format == "json":
        output.record(answer)
    elif output.format == "csv":
        output.rows(_FLAT, flat_rows(answer), empty="")
    elif not output.quiet:
        output.rows(_PEOPLE, people_rows(answer), empty="")
    ctx.exit(ExitStatus.DONE if status == "ok" else ExitStatus.FAILED)
