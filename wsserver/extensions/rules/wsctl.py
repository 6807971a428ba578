"""``wsctl rules``: the rules of the server, and when they would have fired."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import click

from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import session_option
from wsctl.http.client import member
from wsctl.output.writer import Column
from wsctl.times import Moment, clock_time, day_time, epoch, readable, rfc3339

_DAY_S = 86_400.0
_PAGES_LIMIT = 100_000


def _span(value: Any) -> str:
    return readable(value) if isinstance(value, int | float) else ""


def _joined(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else ""


_RULES = [
    Column("RULE", "name", is_id=True),
    Column("KIND", "kind"),
    Column("AFTER", "after_s", _span, right=True),
    Column("UNLESS", "unless", _joined),
    Column("NOTIFY", "notify", _joined),
    Column("24H", "fired_24h", right=True),
    Column("LAST", "last_fired_at", lambda value: day_time(value) if value else ""),
    Column("SESSIONS", "sessions", _joined, is_detail=True),
    Column("ORGANIZATIONS", "organizations", _joined, is_detail=True),
]
_FIRINGS = [
    Column("AT", "at", day_time),
    Column("RULE", "rule"),
    Column("SESSION", "session_id", is_id=True),
    Column("ON", "user_id"),
    Column("LASTED", "lasted_s", _span, right=True),
    Column("NOTIFY", "notify", _joined),
    Column("MESSAGE", "message_id", is_detail=True),
    Column("SINCE", "since", clock_time, is_detail=True),
]


@group(table={"test": "wsserver.extensions.rules.wsctl:test"}, invoke_without_command=True)
@pass_environment
@click.pass_context
def rules(ctx: click.Context, environment: Environment) -> None:
    """List the rules about waiting customers and stalling answers.

    Examples:
    wsctl rules
    wsctl rules test --since 7d
    """
    if ctx.invoked_subcommand is not None:
        return
    found = member(environment.client.get("/rules"), "rules", list)
    environment.output.rows(_RULES, found, empty="no rules: the configuration has no table [rules]")


@command()
@click.option("--since", type=Moment(), metavar="TIME", help="Start (inclusive). Default: 24h.")
@click.option("--until", type=Moment(), metavar="TIME", help="End (exclusive). Default: now.")
@click.option("--rule", metavar="NAME", help="Only this rule.")
@session_option("Only this session.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file with tables [rules.NAME], in place of the server's rules.",
)
@pass_environment
def test(
    environment: Environment,
    since: float | None,
    until: float | None,
    rule: str | None,
    session: str | None,
    path: Path | None,
) -> None:
    """Show when rules would have fired, and on whom.

    Goes through the stored conversations.

    LASTED is how long the customer waited, or the answer stalled, in the end; without a value it
    was not over. Nothing is sent.

    Examples:
    wsctl rules test --since 7d
    wsctl rules test --since 7d --rule nobody_there -o csv
    wsctl rules test --since 7d --file wsserver.toml
    """
    end = time.time() if until is None else until
    start = end - _DAY_S if since is None else since
    if start >= end:
        raise click.UsageError("--since must be before --until.")
    body: dict[str, Any] = {"since": rfc3339(start), "until": rfc3339(end)}
    if session is not None:
        body["session_id"] = session
    if path is not None:
        body["rules"] = _rules_in(path)
    found: list[dict[str, Any]] = []
    sessions = 0
    for _ in range(_PAGES_LIMIT):
        answer = environment.client.post("/rules/test", body)
        found += member(answer, "firings", list)
        sessions += answer["sessions"]
        if answer["next_cursor"] is None:
            break
        body["cursor"] = answer["next_cursor"]
    found = [{**each, "lasted_s": _lasted(each)} for each in found if rule in (None, each["rule"])]
    found.sort(key=lambda each: str(each["at"]))
    empty = f"no rule would have fired in {sessions} sessions"
    environment.output.rows(_FIRINGS, found, empty=empty)


def _lasted(firing: dict[str, Any]) -> float | None:
    since, until = epoch(firing["since"]), epoch(firing["until"])
    return None if since is None or until is None else round(until - since, 3)


def _rules_in(path: Path) -> dict[str, Any]:
    """The tables ``[rules.NAME]`` of a configuration file."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("rules")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from None
    if not isinstance(tables, dict) or not tables:
        raise click.ClickException(f"{path} has no table [rules.NAME]")
    return tables
