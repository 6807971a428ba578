"""``wsctl bench``: a small load test."""

from __future__ import annotations

import resource
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.cli.prompts import confirm
from wsctl.errors import BadUsage, ExitStatus, Failed, NotPermitted
from wsctl.formatting import plain
from wsctl.times import Duration

if TYPE_CHECKING:
    from wsctl.bench.plan import Limits, Plan

MOST_CONNECTIONS = 1000


@command()
@click.option(
    "--connections",
    type=click.IntRange(1, MOST_CONNECTIONS),
    metavar="N",
    help="Listening connections. Default: 10, or as many as the token's user may still open.",
)
@click.option(
    "--messages",
    type=click.IntRange(min=1),
    metavar="M",
    help="Messages to publish. Default: --rate times --duration.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="R",
    help="Messages per second. Default: 20, or --messages divided by --duration.",
)
@click.option(
    "--duration", type=Duration(), default="10s", show_default=True, help="Longest time to publish."
)
@click.option(
    "--size",
    type=click.IntRange(32, 1_000_000),
    default=200,
    show_default=True,
    metavar="BYTES",
    help="Size of each message's data.",
)
@click.option("--keep", is_flag=True, help="Store the messages, for 60 seconds.")
@click.option(
    "--max-errors",
    type=click.FloatRange(0, 100),
    default=5,
    show_default=True,
    metavar="PERCENT",
    help="Stop when a larger share of operations fails.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    metavar="F",
    help="File with the server's secret (HS256), for tokens of test users. That of a development"
    " server is found by itself.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask before a load that may be too high.")
@pass_environment
@click.pass_context
def bench(
    ctx: click.Context,
    environment: Environment,
    connections: int | None,
    messages: int | None,
    rate: float | None,
    duration: float,
    size: int,
    keep: bool,
    max_errors: float,
    secret_file: Path | None,
    yes: bool,
) -> None:
    """Measure the server under a small load.

    All connections join one session with a random name, so that no other client receives
    anything. One token allows max_connections_per_user connections, less one for publishing;
    with the secret of the server, tokens of test users are created instead. A load of more than
    a tenth of the server's free capacity needs confirmation, and is refused without a terminal.

    Exit code 0 when every message was delivered exactly once, 1 otherwise. Ctrl-C prints the
    result so far.

    Examples:
    wsctl bench
    wsctl bench --connections 200 --rate 10 --duration 30s
    wsctl bench --messages 100 --size 1000 --keep -o json
    """
    from wsctl.bench import plan as plans
    from wsctl.bench.credentials import USERS, created_users, one_for_all
    from wsctl.bench.run import INTERRUPTED, carry_out

    limits, whoami = _limits(environment)
    secret = _secret(environment, secret_file)
    try:
        count = plans.connections_for(connections, limits, has_users=secret is not None)
    except ValueError as error:
        raise Failed(str(error)) from None
    many, per_s = plans.messages_for(messages, rate, duration)
    plan = plans.Plan(count, many, per_s, size, keep, max_error_share=max_errors / 100)
    session_id = f"{USERS}-{secrets.token_hex(8)}"
    if secret is None:
        _require(whoami)
        credentials = one_for_all(environment.target.token)
    else:
        per_user = limits.per_user or 1
        credentials = created_users(secret, session_id, per_user, duration)
    _agree(plan, limits, yes)
    if environment.output.is_table:
        allowed = "" if secret is not None else f", of {limits.own_free} that the token allows"
        environment.output.note(
            f"{plain(count)} connections{allowed}; {plain(many)} messages, {per_s:g} a second"
        )
    result = carry_out(environment.output, environment.target.url, session_id, plan, credentials)
    _show(environment, result)
    if result["stopped"] == INTERRUPTED:
        ctx.exit(ExitStatus.INTERRUPTED)
    ctx.exit(ExitStatus.DONE if is_ok(result) else ExitStatus.FAILED)


def is_ok(result: dict[str, Any]) -> bool:
    """Whether everything was done and every message was delivered exactly once."""
    deliveries = result["deliveries"]
    return not (
        result["stopped"]
        or result["errors"]
        or result["messages"]["unanswered"]
        or deliveries["lost"]
        or deliveries["duplicated"]
        or not deliveries["received"]
    )


def _limits(environment: Environment) -> tuple[Limits, dict[str, Any]]:
    """The server's limits and the answer of ``/whoami``."""
    from wsctl.bench.plan import limits_of

    whoami = environment.client.get("/whoami")
    try:
        diagnostics = environment.client.get("/diagnostics")
    except NotPermitted:
        diagnostics = None
    return limits_of(whoami, diagnostics), whoami


def _secret(environment: Environment, secret_file: Path | None) -> bytes | None:
    """The secret for tokens of test users; None: there is none."""
    from wsctl.config.target import development_secret
    from wsctl.config.tokens import read_secret

    if secret_file is not None:
        return read_secret(secret_file)
    return development_secret() if environment.target.is_dev else None


def _require(whoami: dict[str, Any]) -> None:
    """Raise ``NotPermitted`` if the token lacks permissions for the load."""
    held = whoami.get("permissions")
    missing = [
        name
        for name in ("monitor", "messages:publish")
        if not isinstance(held, list) or name not in held
    ]
    if whoami.get("all_sessions") is not True:
        missing.append('sessions:any (or "sessions": "*")')
    if missing:
        raise NotPermitted(f"the token lacks permissions that bench needs: {', '.join(missing)}")


def _agree(plan: Plan, limits: Limits, yes: bool) -> None:
    """Ask before a load that may be too high; without a terminal, refuse it."""
    from wsctl.bench.plan import impossible, objections

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    own = 2**31 if hard == resource.RLIM_INFINITY else hard
    if reason := impossible(plan, limits, own):
        raise BadUsage(reason)
    found = [] if yes else objections(plan, limits)
    if not found:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise Failed(f"{'; '.join(found)} (--yes runs it anyway)")
    for each in found:
        click.echo(each, err=True)
    confirm("Run it anyway?", yes=False, otherwise="nothing was done")


def _show(environment: Environment, result: dict[str, Any]) -> None:
    from wsctl.bench.report import show

    if environment.output.is_table:
        show(environment.output, result)
    else:
        environment.output.record(result)
