"""``wsctl replay``: play a recording to a development server, with its timing."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.errors import BadUsage, ExitStatus
from wsctl.formatting import plural
from wsctl.output.writer import Column
from wsctl.times import Duration

if TYPE_CHECKING:
    from wsctl.replay.plan import Connection, Plan

LARGEST_BYTES = 256 * 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TOKEN_TTL_S = 24 * 3600.0

_DIFFERENT = [
    Column("USER", "user_id", is_id=True),
    Column("WHAT", "what"),
    Column("RECORDED", "recorded"),
    Column("NOW", "now"),
]


@command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 1000),
    default=1.0,
    show_default=True,
    help="How fast; 2 is twice as fast as it was.",
)
@click.option("--max-pause", type=Duration(), help="Cut longer pauses. Default: none.")
@click.option("--commands-only", is_flag=True, help="Do not publish what others sent.")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    metavar="F",
    help="File with the server's secret. Or WSSERVER_JWT_SECRET, or ./var/dev-jwt-secret.",
)
@click.option("--anywhere", is_flag=True, help="Also to a server that is not on this machine.")
@pass_environment
@click.pass_context
def replay(
    ctx: click.Context,
    environment: Environment,
    file: Path,
    speed: float,
    max_pause: float | None,
    commands_only: bool,
    secret_file: Path | None,
    anywhere: bool,
) -> None:
    """Play a recording to a development server, with its timing.

    For each recorded connection one is opened as its user, with a token signed here, and sends the
    recorded commands when they were sent. Messages and pushes of users who were not recorded are
    published, so that a page of a recorded user sees what it saw then. Ids and offsets are
    translated to those of this server. Replies are compared with the recorded ones: of which type,
    and with which error. Masked texts are sent as they are in the file.

    Exit code 1 if anything went otherwise than recorded.

    Examples:
    wsctl replay recording-u1-20240115T143000.json
    wsctl replay u1.json --speed 4 --max-pause 5s
    wsctl replay u1.json --commands-only -o json
    """
    import asyncio  # slow to import, as the next one

    from wsctl.commands.token import secret_of
    from wsctl.config.tokens import sign
    from wsctl.replay.run import Player

    url = environment.target.url
    if not anywhere and urlsplit(url).hostname not in _LOOPBACK:
        raise BadUsage(f"{url} is not on this machine: a replay sends what people have written;"
                       " --anywhere allows it")  # fmt: skip
    plan = _read(file, publish=not commands_only, longest_pause_s=max_pause or 0.0)
    secret = secret_of(secret_file)

    def token_of(connection: Connection) -> str:
        claims: dict[str, Any] = {"sub": connection.user_id, "role": connection.role}
        if connection.organization_id is not None:
            claims["organization_id"] = connection.organization_id
        return sign(secret, {**claims, "sessions": "*"}, _TOKEN_TTL_S)

    output = environment.output
    output.note(
        f"replaying {plural(len(plan.steps), 'step')} of"
        f" {plural(len(plan.connections), 'connection')} in {plan.lasts_s / speed:.0f} s"
    )
    player = Player(
        plan,
        url,
        sign=token_of,
        publish=environment.client.post,
        suffix=f"~{secrets.token_hex(4)}",
        speed=speed,
    )
    try:
        asyncio.run(player.run())
    except KeyboardInterrupt:
        _show(environment, player.played.as_dict())
        raise
    _show(environment, player.played.as_dict())
    ctx.exit(ExitStatus.FAILED if player.played.different else ExitStatus.DONE)


def _read(file: Path, *, publish: bool, longest_pause_s: float) -> Plan:
    from wsctl.replay.plan import NotARecording, read_plan

    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise NotARecording("it is too large")
        document = json.loads(text)
        return read_plan(document, publish=publish, longest_pause_s=longest_pause_s)
    except OSError as error:
        raise BadUsage(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BadUsage(f"{file} is no recording: it is not JSON") from None
    except NotARecording as error:
        raise BadUsage(f"{file} is no recording: {error}") from None


def _show(environment: Environment, played: dict[str, Any]) -> None:
    output = environment.output
    if not output.is_table:
        output.record(played)
        return
    if not output.quiet:
        output.line(
            f"{plural(played['commands'], 'command')} sent, {played['replies']:,} replied,"
            f" {played['published']:,} published, {len(played['different']):,} not as recorded"
        )
    if played["different"]:
        output.rows(_DIFFERENT, played["different"], empty="")
