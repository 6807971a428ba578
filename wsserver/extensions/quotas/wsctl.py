"""``wsctl quota`` and ``wsctl usage``: quotas, and what was used over time."""

from __future__ import annotations

import math
import shutil
import time
from typing import Any

import click

from wsctl.cli.click_base import command, group
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.formatting import plain
from wsctl.http.client import member, path_part
from wsctl.output.charts import chart, nice_top
from wsctl.output.writer import Column
from wsctl.times import Duration, Moment, clock_time, day_time, epoch, readable, rfc3339

_DAY_S = 86_400.0
_MARGIN = 10
_HEIGHT = 8

_QUOTAS = [
    Column("SCOPE", "scope", is_id=True),
    Column("USED", "used", right=True),
    Column("LIMIT", "limit", right=True),
    Column("%", "percent", right=True),
    Column("UNIT", "unit"),
    Column("PERIOD", "period"),
    Column("RESETS", "resets_at", lambda value: day_time(value) if value else "never"),
    Column("AT LIMIT", "at_limit", is_detail=True),
    Column("COST", "cost", right=True, is_detail=True),
]
_USAGE = [
    Column("TIME", "at", clock_time),
    Column("SCOPE", "scope", is_id=True),
    Column("SOURCE", "source"),
    Column("AMOUNT", "amount", right=True),
    Column("COST", "cost", right=True),
    Column("REPORTS", "reports", right=True),
]


@group(
    table={
        "list": "wsserver.extensions.quotas.wsctl:listing",
        "show": "wsserver.extensions.quotas.wsctl:show",
        "set": "wsserver.extensions.quotas.wsctl:set_quota",
        "delete": "wsserver.extensions.quotas.wsctl:delete",
    }
)
def quota() -> None:
    """Show and set what organizations and users may use.

    A scope is organization:ID or user:ID.

    Examples:
    wsctl quota list
    wsctl quota set organization:acme --limit 1000000 --unit tokens --period month
    """


@command()
@limit_option(100)
@pass_environment
def listing(environment: Environment, limit: int) -> None:
    """List the quotas with what is used of them.

    Examples:
    wsctl quota list
    wsctl quota list -o json
    """
    found = list(environment.client.pages("/quotas", "quotas", {}, limit))
    if environment.output.is_table:
        found = [{**each, "percent": _percent(each)} for each in found]
    environment.output.rows(_QUOTAS, found, empty="no quotas")


def _percent(quota: dict[str, Any]) -> str:
    limit = quota.get("limit")
    return f"{quota['used'] * 100 / limit:.0f}" if limit else ""


@command()
@click.argument("scope")
@pass_environment
def show(environment: Environment, scope: str) -> None:
    """Show a quota with what is used of it.

    Examples:
    wsctl quota show organization:acme
    """
    found = environment.client.get(f"/quotas/{path_part(scope)}")
    output = environment.output
    if not output.is_table:
        output.record(found)
        return
    used, limit, unit = plain(found["used"]), plain(found["limit"]), found["unit"]
    output.line(f"{scope}: {used} of {limit} {unit} used ({_percent(found)}%)")
    resets = f", resets {clock_time(found['resets_at'])}" if found["resets_at"] else ""
    output.line(f"period: {found['period']} ({found['timezone']}){resets}")
    if found["budget"] is not None:
        currency = found["currency"] or ""
        output.line(f"cost: {plain(found['cost'])} of {plain(found['budget'])} {currency}")
    stops = " (exhausted: answers are refused)" if found["exhausted"] else ""
    output.line(f"at the limit: {found['at_limit']}{stops}")
    output.line(f"set {clock_time(found['updated_at'])} by {found['updated_by']}")


@command()
@click.argument("scope")
@click.option("--limit", type=float, required=True, metavar="N", help="How much may be used.")
@click.option("--unit", required=True, metavar="UNIT", help="What is counted, such as tokens.")
@click.option(
    "--period", type=click.Choice(["day", "month", "total"]), required=True, help="When it resets."
)
@click.option("--budget", type=float, metavar="N", help="How much it may cost.")
@click.option("--currency", metavar="CODE", help="Of the budget, such as CNY.")
@click.option("--timezone", metavar="ZONE", help="Where days begin. Default: UTC.")
@click.option("--stop", is_flag=True, help="Refuse answers at the limit, instead of warning only.")
@pass_environment
def set_quota(
    environment: Environment,
    scope: str,
    limit: float,
    unit: str,
    period: str,
    budget: float | None,
    currency: str | None,
    timezone: str | None,
    stop: bool,
) -> None:
    """Set a quota, in place of the former one.

    What was used in the period counts, also from before there was a quota.

    Examples:
    wsctl quota set organization:acme --limit 1000000 --unit tokens --period month
    wsctl quota set user:bot --limit 50 --unit points --period day --stop
    """
    body = {
        "limit": limit,
        "unit": unit,
        "period": period,
        "budget": budget,
        "currency": currency,
        "timezone": timezone,
        "at_limit": "stop" if stop else None,
    }
    given = {name: value for name, value in body.items() if value is not None}
    found = environment.client.put(f"/quotas/{path_part(scope)}", given)
    used, of = plain(found["used"]), plain(found["limit"])
    environment.output.document(found, f"{scope}: {used} of {of} {found['unit']} used")


@command()
@click.argument("scope")
@yes_option
@pass_environment
def delete(environment: Environment, scope: str, yes: bool) -> None:
    """Delete a quota. What was used stays.

    Asks first on a terminal; elsewhere, as in cron, it does not ask.

    Examples:
    wsctl quota delete organization:acme --yes
    """
    confirm(f"Delete the quota of {scope}?", yes=yes, otherwise="nothing was deleted")
    answer = environment.client.request("DELETE", f"/quotas/{path_part(scope)}")
    environment.output.document(answer, f"the quota of {scope} is deleted")


@command()
@click.argument("scope", required=False)
@click.option("--since", type=Moment(), metavar="TIME", help="Start (inclusive). Default: 24h.")
@click.option("--until", type=Moment(), metavar="TIME", help="End (exclusive). Default: now.")
@click.option("--step", type=Duration(), metavar="D", help="Length of a step. Default: 1h.")
@click.option("--plot", is_flag=True, help="A chart of all sources together.")
@pass_environment
def usage(
    environment: Environment,
    scope: str | None,
    since: float | None,
    until: float | None,
    step: float | None,
    plot: bool,
) -> None:
    """Show what was used over time, by source.

    Without a scope, of all scopes; for a manager, of the organization.

    Examples:
    wsctl usage organization:acme --since 7d --step 1d
    wsctl usage organization:acme --since 24h --plot
    wsctl usage -o csv
    """
    if step is not None and not step.is_integer():
        raise click.UsageError("--step must be whole seconds, such as 30s or 5m.")
    end = time.time() if until is None else until
    start = end - _DAY_S if since is None else since
    if start >= end:
        raise click.UsageError("--since must be before --until.")
    step_s = 3600 if step is None else int(step)
    query = {
        "scope": scope,
        "since": rfc3339(start),
        "until": rfc3339(end),
        "step": f"{step_s}s",
    }
    answer = environment.client.get("/usage", query)
    points = member(answer, "usage", list)
    if answer.get("truncated"):
        environment.output.note("there is more: ask for less time, or longer steps")
    if plot and environment.output.is_table:
        _plot(environment, points, start, end, step_s)
    else:
        environment.output.rows(_USAGE, points, empty="nothing was used in this time")


def _plot(
    environment: Environment, points: list[dict[str, Any]], start: float, end: float, step_s: int
) -> None:
    """A chart of the amounts of each step; steps begin at multiples of their length."""
    output = environment.output
    if not points:
        output.note("nothing was used in this time")
        return
    first = math.floor(start / step_s)
    steps = max(1, math.ceil(end / step_s) - first)
    width = (shutil.get_terminal_size().columns if output.is_terminal else 80) - _MARGIN
    columns = max(10, min(width, max(steps, 10)))
    values: list[float | None] = [0.0] * columns
    for point in points:
        at = epoch(point["at"])
        if at is not None:
            index = min(columns - 1, (math.floor(at / step_s) - first) * columns // steps)
            values[index] = (values[index] or 0.0) + point["amount"]
    top = nice_top(values)
    total = sum(point["amount"] for point in points)
    output.line(f"used: {plain(total)}  (step: {readable(step_s)})", bold=True)
    labels = [plain(value) for value in (top, top / 2, 0)]
    times = (day_time(rfc3339(start)), day_time(rfc3339(end)))
    for line in chart(values, height=_HEIGHT, labels=labels, times=times):
        output.line(line)
    by_source: dict[str, float] = {}
    for point in points:
        by_source[point["source"]] = by_source.get(point["source"], 0) + point["amount"]
    for source, amount in sorted(by_source.items(), key=lambda pair: -pair[1]):
        output.line(f"  {plain(round(amount, 6))}  {source or '(no source)'}")
