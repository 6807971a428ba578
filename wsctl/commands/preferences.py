"""``wsctl preferences``: which notifications a user has chosen, and when."""

from __future__ import annotations

import re
from typing import Any

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.commands.contacts import NONE, quiet_hours
from wsctl.http.client import path_part
from wsctl.output.writer import Column

_CHANNELS = ("websocket", "email", "sms", "push")
_CHOICES = [Column("WHAT", "name"), Column("VALUE", "value")]
_DAILY = re.compile(r"([0-2][0-9]:[0-5][0-9])(?:@([^=]+))?(?:=([a-z,]+))?")


def _switch(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> list[list[str]]:
    """``TEMPLATE:CHANNEL``, or ``CHANNEL`` for all templates."""
    found = []
    for text in texts:
        template, colon, channel = text.rpartition(":")
        if channel not in _CHANNELS or (colon and not template):
            channels = ", ".join(_CHANNELS)
            raise click.BadParameter(f"{text!r}: write [TEMPLATE:]CHANNEL, with one of {channels}")
        found.append([template or "*", channel])
    return found


def _daily(_: click.Context, __: click.Parameter, text: str | None) -> Any:
    """``08:00@Asia/Shanghai=email,push`` as the API has it."""
    if text is None or text == NONE:
        return text
    match = _DAILY.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r}: write TIME[@ZONE][=CHANNELS], as 08:00@Asia/Shanghai")
    at, zone, channels = match.groups()
    return {"at": at, "time_zone": zone or "UTC", "channels": (channels or "email").split(",")}


@command()
@click.argument("user", shell_complete=completion.users)
@click.option(
    "--off",
    multiple=True,
    metavar="[TEMPLATE:]CHANNEL",
    callback=_switch,
    help="Switch a channel off, for a template or all others; repeatable.",
)
@click.option(
    "--on", multiple=True, metavar="[TEMPLATE:]CHANNEL", callback=_switch, help="Switch it on."
)
@click.option(
    "--reset", multiple=True, metavar="[TEMPLATE:]CHANNEL", callback=_switch,
    help="Remove the choice.",
)  # fmt: skip
@click.option(
    "--quiet-hours",
    metavar="FROM-TO[@ZONE]",
    callback=quiet_hours,
    help="In place of those of the contacts; none: those again.",
)
@click.option(
    "--daily-digest",
    metavar="TIME[@ZONE][=CHANNELS]",
    callback=_daily,
    help="Once a day as one, such as 08:00@Asia/Shanghai=email,push. Channels: email.",
)
@pass_environment
def preferences(
    environment: Environment,
    /,
    user: str,
    off: list[list[str]],
    on: list[list[str]],
    reset: list[list[str]],
    **given: Any,
) -> None:
    """Show or change what a user is notified of.

    Channels by template, quiet hours and a daily digest, as users choose them. Urgent notifications
    are sent in any case. What is not named stays as it is.

    Examples:
    wsctl preferences u1
    wsctl preferences u1 --off sms --off device_status:email
    wsctl preferences u1 --quiet-hours 22:00-07:00@Asia/Shanghai
    wsctl preferences u1 --daily-digest 08:00@Asia/Shanghai
    """
    channels: dict[str, dict[str, bool | None]] = {}
    for switches, choice in ((off, False), (on, True), (reset, None)):
        for template, channel in switches:
            channels.setdefault(template, {})[channel] = choice
    changes: dict[str, Any] = {
        name: None if value == NONE else value for name, value in given.items() if value is not None
    }
    if channels:
        changes["channels"] = channels
    path = f"/users/{path_part(user)}/preferences"
    client, output = environment.client, environment.output
    known = client.patch(path, changes) if changes else client.get(path)
    if not output.is_table:
        output.record(known)
    elif not (changes and output.quiet):
        output.rows(_CHOICES, _rows(known), empty="")


def _rows(known: dict[str, Any]) -> list[dict[str, str]]:
    rows = [
        {
            "name": "all others" if template == "*" else template,
            "value": ", ".join(
                f"{name} {'on' if is_on else 'off'}" for name, is_on in each.items()
            ),
        }
        for template, each in known["channels"].items()
    ]
    quiet, digest = known.get("quiet_hours"), known.get("daily_digest")
    shown = "-"
    if quiet:
        shown = f"{quiet['start']} to {quiet['end']}, {quiet['time_zone']}"
        shown += f" ({known['quiet_hours_from']})"
    rows.append({"name": "quiet hours", "value": shown})
    daily = "-"
    if digest:
        daily = f"{digest['at']}, {digest['time_zone']}, by {', '.join(digest['channels'])}"
    return [*rows, {"name": "daily digest", "value": daily}]
