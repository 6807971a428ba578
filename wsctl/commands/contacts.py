"""``wsctl contacts``: a user's e-mail address, phone number and other contact data."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import click

from wsctl.cli import completion
from wsctl.cli.click_base import command
from wsctl.cli.environment import Environment, pass_environment
from wsctl.output.writer import Column

_COLUMNS = [Column("WHERE", "name"), Column("VALUE", "value")]
_QUIET = re.compile(r"([0-2][0-9]:[0-5][0-9])-([0-2][0-9]:[0-5][0-9])(?:@(\S+))?")
NONE = "none"
"""What removes a value."""
_NOT_SENT_BACK = ("user_id", "organization_id")
"""Fields of the answer that are not sent back: an organization would become fixed."""


def quiet_hours(
    _: click.Context, __: click.Parameter, text: str | None
) -> str | dict[str, str] | None:
    """``22:00-08:00@Asia/Shanghai`` as the API has it; the zone is UTC where none is named."""
    if text is None or text == NONE:
        return text
    match = _QUIET.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r}: write FROM-TO[@ZONE], as 22:00-08:00@Asia/Shanghai")
    start, end, zone = match.groups()
    return {"start": start, "end": end, "time_zone": zone or "UTC"}


@command()
@click.argument("user", shell_complete=completion.users)
@click.option("--email", metavar="ADDRESS", help="E-mail address.")
@click.option("--phone", metavar="NUMBER", help="Number for SMS, such as +8613800138000.")
@click.option(
    "--locale", type=click.Choice(["zh-CN", "en", NONE]), help="Language of the notifications."
)
@click.option(
    "--quiet-hours",
    metavar="FROM-TO[@ZONE]",
    callback=quiet_hours,
    help="When e-mail, SMS and push wait, such as 22:00-08:00@Asia/Shanghai. Zone: UTC.",
)
@click.option(
    "--organization",
    "organization_id",
    metavar="ID",
    help="The user's organization; none: that of the user's token. Not for managers.",
)
@click.option(
    "--forget-push", is_flag=True, help="Delete the user's Web Push subscriptions and devices."
)
@pass_environment
def contacts(
    environment: Environment, /, user: str, forget_push: bool, **given: str | dict[str, str] | None
) -> None:
    """Show or change a user's contact data.

    Addresses for notifications, and the organization that the user belongs to. Options that
    are not given leave a value unchanged; `none` removes it.

    Examples:
    wsctl contacts u1
    wsctl contacts u1 --email zhang@example.com --phone +8613800138000
    wsctl contacts u1 --quiet-hours 22:00-08:00@Asia/Shanghai --locale zh-CN
    wsctl contacts u1 --phone none
    wsctl contacts u1 --organization org_1
    """
    from wsctl.http.client import path_part

    path = f"/users/{path_part(user)}/contacts"
    known: dict[str, Any] = environment.client.get(path)
    changes: dict[str, Any] = {
        name: None if value == NONE else value for name, value in given.items() if value is not None
    }
    if forget_push:
        changes |= {"push": [], "devices": []}
    if changes:
        body = {name: value for name, value in known.items() if name not in _NOT_SENT_BACK}
        body |= changes
        known = environment.client.put(path, body)
    output = environment.output
    if not output.is_table:
        output.record(known)
    elif not (changes and output.quiet):
        output.rows(_COLUMNS, rows_of(known), empty="")


def rows_of(contact: dict[str, Any]) -> list[dict[str, str]]:
    """One row per field; of browsers and devices only the service, as the rest is secret."""
    quiet = contact.get("quiet_hours")
    services = sorted({urlsplit(each["endpoint"]).hostname or "?" for each in contact["push"]})
    devices = contact.get("devices", [])  # a server from before has none
    platforms = sorted({each["platform"] for each in devices})
    values = {
        "organization": contact.get("organization_id"),
        "email": contact.get("email"),
        "phone": contact.get("phone"),
        "push": _counted(contact["push"], services),
        "devices": _counted(devices, platforms),
        "locale": contact.get("locale"),
        "quiet hours": quiet and f"{quiet['start']} to {quiet['end']}, {quiet['time_zone']}",
    }
    return [{"name": name, "value": value or "-"} for name, value in values.items()]


def _counted(addresses: list[Any], services: list[str]) -> str | None:
    return f"{len(addresses)} ({', '.join(services)})" if addresses else None
