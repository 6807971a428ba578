"""``wsctl audit``: the audit trail."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.options import limit_option
from wsctl.errors import Failed, NotPermitted
from wsctl.output.csv_rows import csv_line
from wsctl.output.writer import Column, Output, to_json
from wsctl.text import flatten, one_line
from wsctl.times import Duration, Moment, day_time, rfc3339

_FIRST = ("id", "at", "actor", "role", "action", "target", "outcome")
_SHOWN_DETAILS = 5
"""Names and values in a line; -o json has all."""


@command()
@click.option(
    "--actor", metavar="U", help="Only actions of this user.", shell_complete=completion.actors
)
@click.option(
    "--action",
    metavar="NAME",
    help="Only this action, such as disconnect, revoke or notify.",
    shell_complete=completion.actions,
)
@click.option(
    "--since", type=Moment(), help="Start (inclusive): RFC 3339, a date, or an age such as 24h."
)
@click.option("--until", type=Moment(), help="End (exclusive).")
@limit_option(50)
@click.option("--follow", "-f", is_flag=True, help="Keep printing new entries.")
@click.option(
    "--interval",
    type=Duration(),
    default="2s",
    show_default=True,
    help="With --follow: time between queries.",
)
@pass_environment
def audit(
    environment: Environment,
    actor: str | None,
    action: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    follow: bool,
    interval: float,
) -> None:
    """Show the audit trail.

    Every action of administrators and backends, including refused attempts: the last --limit
    entries, oldest first. With --follow it continues until Ctrl-C; -o json then prints one
    object per line.

    Examples:
    wsctl audit
    wsctl audit --actor dev-admin --since 24h
    wsctl audit --action disconnect --since 2024-01-15 --until 2024-01-16 -o csv
    wsctl audit --follow -o json
    """
    if follow and until is not None:
        raise click.UsageError("--until cannot be combined with --follow.")
    query = {
        "actor": actor,
        "action": action,
        "since": None if since is None else rfc3339(since),
        "until": None if until is None else rfc3339(until),
    }
    found = list(environment.client.pages("/audit", "entries", query, limit))[::-1]
    output = environment.output
    if not follow and (not found or not output.is_table):
        output.rows([Column(name, name) for name in _FIRST], found, empty="no entries")
        return
    if not follow:
        for entry in found:
            _line(output, entry)
        return
    entries = itertools.chain(found, _following(environment, query, found, interval))
    for number, entry in enumerate(entries):
        _line(output, entry, is_first=number == 0)


def _following(
    environment: Environment,
    query: Mapping[str, Any],
    seen: list[dict[str, Any]],
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Entries after ``seen``, each once; retries while the server is unreachable."""
    last_id, since = 0, query.get("since")
    if seen:
        last_id, since = seen[-1]["id"], seen[-1]["at"]
    is_away = False
    while True:
        wait(interval_s)
        try:
            pages = environment.client.pages("/audit", "entries", {**query, "since": since})
            new = [entry for entry in pages if entry["id"] > last_id][::-1]
        except NotPermitted:
            raise
        except Failed as error:
            if not is_away:
                environment.output.note(f"wsctl: {one_line(error.message)}; retrying")
            is_away = True
            continue
        if is_away:
            environment.output.note(
                "wsctl: the server answers again; the entries since then follow"
            )
        is_away = False
        for entry in new:
            last_id, since = entry["id"], entry["at"]
            yield entry
        if environment.output.reader_is_gone():
            return


def _line(output: Output, entry: dict[str, Any], *, is_first: bool = False) -> None:
    """Print one entry as one line; in CSV the first one after a header."""
    if output.format == "json":
        output.data(to_json(entry) + "\n")
    elif output.format == "csv":
        flat = {**entry, "detail": to_json(entry["detail"])}
        output.data((csv_line(flat) if is_first else "") + csv_line(flat.values()))
    else:
        was_refused = entry["outcome"] != "ok"
        parts: list[tuple[str, dict[str, Any]]] = [
            (f"{day_time(entry['at'])}  ", {"dim": True}),
            (f"{entry['actor']}  ", {"bold": True}),
            (f"{entry['action']} {entry['target']}  ", {}),
            (f"REFUSED: {entry['outcome']}  " if was_refused else "", {"fg": "red"}),
            (_details(entry), {"dim": True}),
        ]
        output.line_of(parts, indent=16)


def _details(entry: dict[str, Any]) -> str:
    """Details of an action as ``name=value`` without empty ones, and the remote address."""
    detail = flatten(entry.get("detail") or {})
    shown = [f"{name}={value}" for name, value in detail.items() if value not in (None, "", [])]
    more = [f"and {len(shown) - _SHOWN_DETAILS} more"] if len(shown) > _SHOWN_DETAILS else []
    return " ".join([*shown[:_SHOWN_DETAILS], *more, f"from {entry.get('remote_ip')}"])
