"""``wsctl doctor``: diagnose problems and suggest what to do."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import ExitStatus
from wsctl.times import Duration, readable


@command()
@click.option(
    "--idle",
    type=Duration(),
    help="Keep a connection idle for this long, to see whether a proxy closes it. Default: not"
    " tested. Use more than the heartbeat interval (30s).",
)
@click.option(
    "--timeout",
    type=Duration(),
    default="4500ms",
    show_default=True,
    help="How long to wait for each answer.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "failed"]),
    default="warning",
    show_default=True,
    help="Lowest severity for which the exit code is not 0.",
)
@pass_environment
@click.pass_context
def doctor(
    ctx: click.Context, environment: Environment, idle: float | None, timeout: float, fail_on: str
) -> None:
    """Find out what is wrong and what to do about it.

    Checks the local configuration, DNS, certificate, proxy, clock, token and WebSocket, then the
    server's descriptors, database, broker and channels. One message is published to a session
    with a random name and acknowledged; it is kept for 30 seconds. A check that cannot run is
    skipped, with the reason.

    Exit code 0 when all is well (skipped checks do not count), 1 when not, 3 when no server
    answers, 4 when the server refuses the token.

    Examples:
    wsctl doctor
    wsctl --url https://chat.example.com doctor --idle 35s
    wsctl doctor -q || echo "see to the server"
    wsctl doctor -o json --fail-on failed
    """
    from wsctl.doctor import report
    from wsctl.doctor.checks import judge
    from wsctl.doctor.collect import Collector

    output = environment.output
    if idle is not None and output.is_table and sys.stderr.isatty():
        output.note(f"keeping a connection idle for {readable(idle)} …")
    facts = Collector(environment.target, timeout_s=timeout, idle_s=idle).run()
    findings = judge(facts)
    if output.format == "json":
        output.record(report.document(facts, findings))
    elif output.format == "csv":
        output.rows(report.COLUMNS, report.rows(findings), empty="")
    else:
        report.show(output, facts, findings)
    states = {name: finding.state.value for name, finding in findings.items()}
    ctx.exit(exit_status(states, fail_on))


def exit_status(states: Mapping[str, str], fail_on: str) -> ExitStatus:
    """Exit code for the states of all checks, by id."""
    bad = ("failed",) if fail_on == "failed" else ("failed", "warning")
    if not any(state in bad for state in states.values()):
        return ExitStatus.DONE
    if any(states[name] == "failed" for name in ("network.dns", "network.tcp", "network.http")):
        return ExitStatus.UNREACHABLE
    if states["token.accepted"] == "failed":
        return ExitStatus.NOT_PERMITTED
    return ExitStatus.FAILED
