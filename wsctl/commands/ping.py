"""``wsctl ping``: round trips to a user's connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import ExitStatus, Failed, NotPermitted
from wsctl.output.csv_rows import csv_line
from wsctl.output.writer import to_json
from wsctl.text import one_line
from wsctl.times import Duration


@dataclass
class Summary:
    """Statistics of round trips; times in milliseconds."""

    sent: int = 0
    times_ms: list[float] = field(default_factory=list)

    def add(self, trip: dict[str, Any]) -> None:
        """Count one round trip, answered or not."""
        self.sent += 1
        if trip["alive"] and trip["rtt_ms"] is not None:
            self.times_ms.append(float(trip["rtt_ms"]))

    @property
    def loss(self) -> float:
        """The part without an answer, 0 to 1."""
        return 1 - len(self.times_ms) / self.sent if self.sent else 1.0

    def as_dict(self) -> dict[str, Any]:
        """Counts, loss in percent, and min, avg, max, mdev where there was an answer."""
        found: dict[str, Any] = {
            "sent": self.sent,
            "received": len(self.times_ms),
            "loss_percent": round(self.loss * 100, 1),
        }
        if self.times_ms:
            mean = sum(self.times_ms) / len(self.times_ms)
            spread = sum((value - mean) ** 2 for value in self.times_ms) / len(self.times_ms)
            numbers = (min(self.times_ms), mean, max(self.times_ms), spread**0.5)
            names = ("min_ms", "avg_ms", "max_ms", "mdev_ms")
            found |= {n: round(v, 3) for n, v in zip(names, numbers, strict=True)}
        return found


@command()
@click.argument("user", shell_complete=completion.users)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    metavar="N",
    help="Number of rounds; 0: until Ctrl-C.",
)
@click.option(
    "-i",
    "--interval",
    type=Duration(),
    default="1s",
    show_default=True,
    help="Time between the starts of two rounds.",
)
@click.option(
    "-W", "--timeout", type=Duration(), default="5s", show_default=True,
    help="How long to wait for each answer.",
)  # fmt: skip
@pass_environment
@click.pass_context
def ping(
    ctx: click.Context,
    environment: Environment,
    user: str,
    count: int,
    interval: float,
    timeout: float,
) -> None:
    """Measure round trips to a user, as ping does to a host.

    Every connection of USER is pinged in each round. A round that the server does not answer,
    such as during a restart, counts as lost. Ctrl-C prints the summary.

    -o json prints one object at the end, or with -c 0 one per line and the summary last.

    Exit code 1 when nothing answered.

    Examples:
    wsctl ping u1
    wsctl ping u1 -c 1 -q && echo "u1 is there"
    wsctl ping u1 -c 0 --interval 5s
    """
    output = environment.output
    summary, trips = Summary(), []
    shows_lines = output.is_table and not output.quiet
    is_interrupted = False
    if shows_lines:
        output.line(f"PING {user} through {environment.target.url}")
    try:
        for trip in round_trips(environment, user, count, interval, timeout):
            summary.add(trip)
            if shows_lines:
                output.line(_line(user, trip))
            elif output.format == "json" and not count:
                output.data(to_json(trip) + "\n")
            elif output.format == "csv":
                output.data(("" if summary.sent > 1 else csv_line(trip)) + csv_line(trip.values()))
            else:
                trips.append(trip)
    except KeyboardInterrupt:
        # The summary follows, below the ^C that the terminal shows.
        if shows_lines and output.is_terminal:
            output.line("")
        is_interrupted = True
    finally:
        if summary.sent:
            _conclude(environment, user, summary, trips if count else None)
    if is_interrupted:
        ctx.exit(ExitStatus.INTERRUPTED)
    ctx.exit(ExitStatus.DONE if summary.times_ms else ExitStatus.FAILED)


def round_trips(
    environment: Environment,
    user: str,
    count: int,
    interval_s: float,
    timeout_s: float,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[str, Any]]:
    """One row for each connection and round; one with no connection for a user who is offline.

    A round begins ``interval_s`` after the one before began, or when that has ended. ``error``
    says why the server gave no answer; the first round raises instead.
    """
    from wsctl.http.client import path_part

    path = f"/ping/{path_part(user)}"
    number, due = 0, clock()
    while True:
        number += 1
        reached, error = _ask(environment, path, timeout_s, is_first=number == 1)
        for connection in reached or [{}]:
            yield {
                "n": number,
                "connection_id": connection.get("connection_id"),
                "alive": connection.get("alive") is True,
                "rtt_ms": connection.get("rtt_ms"),
                "error": error,
            }
        if number == count:
            return
        due = max(due + interval_s, clock())
        wait(max(0.0, due - clock()))


def _ask(
    environment: Environment, path: str, timeout_s: float, is_first: bool
) -> tuple[list[dict[str, Any]], str | None]:
    """The connections that were pinged, or why there is no answer."""
    from wsctl.http.client import PATIENCE_S, member

    try:
        answer = environment.client.post(
            path, {"timeout_s": timeout_s}, patience_s=timeout_s + PATIENCE_S, changes=False
        )
        return member(answer, "connections", list), None
    except NotPermitted:
        raise
    except Failed as error:
        if is_first:
            raise
        return [], one_line(error.message)


def _line(user: str, trip: dict[str, Any]) -> str:
    if trip["error"] is not None:
        return f"no answer from the server: n={trip['n']} {trip['error']}"
    if trip["connection_id"] is None:
        return f"{user} is not online: n={trip['n']}"
    if trip["alive"] and trip["rtt_ms"] is not None:
        return f"answer from {trip['connection_id']}: n={trip['n']} time={trip['rtt_ms']:.1f} ms"
    return f"no answer from {trip['connection_id']}: n={trip['n']}"


def _conclude(
    environment: Environment, user: str, summary: Summary, trips: list[dict[str, Any]] | None
) -> None:
    """The summary, for people or for programs; ``trips`` is None where they have been written."""
    numbers, output = summary.as_dict(), environment.output
    if output.format == "json":
        if trips is None:
            output.data(to_json({"user_id": user, "summary": numbers}) + "\n")
        else:
            output.record({"user_id": user, "round_trips": trips, "summary": numbers})
    if not output.is_table or output.quiet:
        return
    output.line(f"--- {user} ping statistics ---")
    output.line(
        f"{numbers['sent']} sent, {numbers['received']} received, {numbers['loss_percent']:g}% loss"
    )
    if summary.times_ms:
        values = (numbers[name] for name in ("min_ms", "avg_ms", "max_ms", "mdev_ms"))
        output.line(f"rtt min/avg/max/mdev = {'/'.join(f'{value:.3f}' for value in values)} ms")
