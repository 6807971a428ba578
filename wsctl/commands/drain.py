"""``wsctl drain``: end a node, with a forecast of the reconnects and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import Decorator, dry_run_option, yes_option
from wsctl.cli.prompts import confirm
from wsctl.drain_comparison import Comparison, compare
from wsctl.errors import BadUsage, Failed, NotFound, NotPermitted
from wsctl.formatting import byte_size, plural
from wsctl.output.writer import Column
from wsctl.times import Duration, epoch

POLL_S = 1.0
"""Time between two looks at who is back."""

_SECONDS = [
    Column("SECOND", "second", right=True),
    Column("FORECAST", "forecast", right=True),
    Column("RECONNECTS", "reconnects", right=True),
]
_FORECAST = [Column("SECOND", "second", right=True), Column("RECONNECTS", "forecast", right=True)]
_CLIENTS = [
    Column("CONNECTIONS", "connections", right=True),
    Column("CLIENT", "user_agent"),
]
_EARLY = [
    Column("USER", "user_id", is_id=True),
    Column("ASKED FOR", "reconnect_after_ms", lambda ms: f"{ms / 1000:.1f} s", right=True),
    Column("CAME AFTER", "came_after_ms", lambda ms: f"{ms / 1000:.1f} s", right=True),
    Column("CLIENT", "user_agent", is_detail=True),
]


_OPTIONS: tuple[Decorator, ...] = (
    click.argument("node", required=False, shell_complete=completion.nodes),
    click.option(
        "--rehearse",
        is_flag=True,
        help="Do nothing; show the expected reconnects, and what is unacknowledged.",
    ),
    dry_run_option("the node that would end"),
    click.option(
        "--wait",
        type=Duration(),
        default="10s",
        show_default=True,
        help="How long to wait for clients behind the time that they were given.",
    ),
    click.option("--no-wait", is_flag=True, help="Do not compare with the forecast afterwards."),
    yes_option,
)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command()
@_options
@pass_environment
def drain(environment: Environment, /, **options: Any) -> None:
    """Drain a node, as SIGTERM does.

    Its clients reconnect elsewhere, and its process ends. A supervisor, such as systemd or that of
    --workers, starts it again. Afterwards, reconnects are compared with the forecast: when clients
    came back, who did not wait for the time that the server gave them, who is missing. Asks first
    on a terminal; elsewhere, as in cron, it does not ask.

    --rehearse shows the forecast alone: reconnects in each second, clients that do not know when
    to come back, messages without an acknowledgement. NODE may be left out if there is only one.

    Examples:
    wsctl drain n2 --rehearse
    wsctl drain n2
    wsctl drain box/1 --yes --no-wait
    """
    _drain(environment, **options)


@command(name="drain")
@_options
@pass_environment
def drain_of_nodes(environment: Environment, /, **options: Any) -> None:
    """Drain a node: the same as wsctl drain.

    Examples:
    wsctl nodes drain n2 --rehearse
    wsctl nodes drain n2 --yes
    """
    _drain(environment, **options)


def _drain(
    environment: Environment,
    node: str | None,
    rehearse: bool,
    dry_run: bool,
    wait: float,
    no_wait: bool,
    yes: bool,
) -> None:
    from wsctl.http.client import path_part

    rows = _listed(environment) if node is None or dry_run else []
    node = node or _only(rows)
    if dry_run:
        _show_node(environment, [row for row in rows if row.get("node") == node], node)
        return
    if rehearse:
        _rehearse(environment, node)
        return
    forecast = None if no_wait else _forecast_if_possible(environment, node)
    count = "" if yes else _connections_of(environment, node)
    confirm(f"Drain {node}{count}?", yes=yes, otherwise="nothing was drained")
    answer = environment.client.post(f"/nodes/{path_part(node)}/drain", {})
    if answer.get("draining") is not True:
        raise Failed(f"{node} does not answer; it was not drained")
    at = epoch(answer.get("at"))
    if forecast is None or at is None:
        environment.output.document(answer, f"{node} is draining")
        return
    environment.output.note(f"{node} is draining; its clients are asked to come back")
    comparison = _wait_for(environment, forecast, at, wait)
    _conclude(environment, answer, forecast, comparison)


def _show_node(environment: Environment, rows: list[dict[str, Any]], node: str) -> None:
    from wsctl.commands.nodes import COLUMNS

    environment.output.rows(COLUMNS, rows, empty=f"no node {node}")
    if rows:
        environment.output.note("nothing was drained")


def _rehearse(environment: Environment, node: str) -> None:
    forecast = _forecast(environment, node)
    output = environment.output
    if not output.is_table:
        output.record(forecast)
        return
    seconds = [
        {"second": second, "forecast": count}
        for second, count in enumerate(forecast["reconnects_per_s"])
    ]
    total, waiting = forecast["total"], forecast["unacknowledged"]
    output.line(
        f"{node}: {plural(total, 'connection')} of {plural(forecast['users'], 'user')}, back within"
        f" {forecast['window_ms'] / 1000:.1f} s, at most {forecast['peak_per_s']:,} a second"
    )
    output.line(
        f"unacknowledged: {plural(waiting['messages'], 'message')} of"
        f" {plural(waiting['users'], 'user')}, sent again after the reconnect; not yet written:"
        f" {byte_size(forecast['queued_bytes'])}; growing answers:"
        f" {forecast['growing_answers']:,}"
    )
    output.line(f"clients that do not know the hint: {forecast['ignore_hint']:,}")
    if seconds:
        output.rows(_FORECAST, seconds, empty="")
    if forecast["ignoring_clients"]:
        output.rows(_CLIENTS, forecast["ignoring_clients"], empty="")
    output.note("nothing was drained")


def _conclude(
    environment: Environment,
    answer: dict[str, Any],
    forecast: dict[str, Any],
    comparison: Comparison,
) -> None:
    """Show what the drain did beside its forecast."""
    output, found = environment.output, comparison.as_dict()
    found["unacknowledged_before"] = forecast["unacknowledged"]["messages"]
    found["unacknowledged_after"] = _unacknowledged_of(environment, comparison.users)
    if not output.is_table:
        output.record({**answer, "comparison": found})
        return
    if output.quiet:
        return
    output.line(
        f"{answer['node']}: {found['returned']:,} of {plural(found['expected'], 'connection')} came"
        f" back, at most {found['peak_per_s']:,} a second"
        f" (forecast: {found['forecast_peak_per_s']:,})"
    )
    rows = [
        {"second": second, "forecast": forecast_, "reconnects": was}
        for second, forecast_, was in comparison.seconds()
        if forecast_ or was
    ]
    if rows:
        output.rows(_SECONDS, rows, empty="")
    if comparison.early:
        output.line(
            f"{plural(len(comparison.early), 'client')} did not wait for the time given"
            f" (forecast: {forecast['ignore_hint']:,})"
        )
        output.rows(_EARLY, found["ignored_hint_by"], empty="")
    before, after = found["unacknowledged_before"], found["unacknowledged_after"]
    if before or after:
        output.line(f"unacknowledged messages of these users: {before:,} before, {after:,} now")
    if comparison.missing:
        output.line(
            f"{plural(len(comparison.missing), 'connection')} missing, of:"
            f" {', '.join(found['missing_users'])}"
        )


def _wait_for(
    environment: Environment, forecast: dict[str, Any], drained_at: float, patience_s: float
) -> Comparison:
    """Look who is back until all are, or the time for it is over.

    Raises the last error if no server answers until then: the only node has ended.
    """
    before, per_s = forecast["connections"], forecast["reconnects_per_s"]
    window_s = forecast["window_ms"] / 1000
    comparison = compare(per_s, before, [], drained_at)
    if not before:
        return comparison
    end = time.monotonic() + window_s + patience_s
    while True:
        left_s = end - time.monotonic()
        silence: Failed | None = None
        try:
            rows = list(environment.client.pages("/connections", "connections", {}))
            comparison = compare(per_s, before, rows, drained_at)
        except NotPermitted:
            raise
        except Failed as error:
            silence = error
        if silence is None and not comparison.missing:
            return comparison
        if left_s <= 0:
            if silence is not None:
                raise silence
            return comparison
        time.sleep(min(POLL_S, max(0.05, left_s)))


def _unacknowledged_of(environment: Environment, users: frozenset[str]) -> int:
    """Messages in the inboxes of users on all nodes that are up; each user counted once."""
    found: dict[str, int] = {}
    for row in _listed(environment) if users else []:
        if row.get("state") == "up":
            forecast = _forecast_if_possible(environment, str(row["node"]))
            for each in forecast["connections"] if forecast else []:
                found[each["user_id"]] = max(
                    found.get(each["user_id"], 0), int(each["unacknowledged"])
                )
    return sum(count for user, count in found.items() if user in users)


def _forecast_if_possible(environment: Environment, node: str) -> dict[str, Any] | None:
    """The forecast; None if the server has none for this token, or is too old."""
    try:
        return _forecast(environment, node)
    except (NotFound, NotPermitted):
        return None


def _forecast(environment: Environment, node: str) -> dict[str, Any]:
    """The forecast with all its connections; figures are those of its first page."""
    from wsctl.http.client import PAGE, member, path_part

    path = f"/nodes/{path_part(node)}/drain"
    forecast: dict[str, Any] = environment.client.get(path, {"limit": PAGE})
    rows: list[Any] = list(member(forecast, "connections", list))
    cursor = forecast.pop("next_cursor", None)
    while cursor:
        page = environment.client.get(path, {"limit": PAGE, "cursor": cursor})
        rows += member(page, "connections", list)
        cursor = page.get("next_cursor")
    return {**forecast, "connections": rows}


def _only(rows: list[dict[str, Any]]) -> str:
    names = [str(row["node"]) for row in rows if row.get("state") == "up"]
    if len(names) == 1:
        return names[0]
    raise BadUsage(f"NODE is required: the nodes are {', '.join(names) or 'not up'}")


def _listed(environment: Environment) -> list[dict[str, Any]]:
    from wsctl.commands.nodes import listed

    return listed(environment)


def _connections_of(environment: Environment, node: str) -> str:
    """What a question adds to the name of a node: how many connections it has."""
    for row in _listed(environment):
        if row.get("node") == node and isinstance(row.get("connections"), int):
            return f" and its {plural(row['connections'], 'connection')}"
    return ""
