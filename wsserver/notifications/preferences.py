"""Preferences of users, as pure functions: what they mean for a delivery, and how they change."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from wsserver.notifications.delivery_policy import zone
from wsserver.protocol.notifications import (
    ANY_TEMPLATE,
    NO_PREFERENCES,
    DailyDigest,
    Preferences,
    PreferencesRequest,
)
from wsserver.protocol.validation import Fault, one_of
from wsserver.storage.notifications.deliveries import Claimed

log = logging.getLogger(__name__)

URGENT = "urgent"
"""The type that no preference and no quiet hours apply to."""


def is_on(preferences: Preferences, template: str | None, channel: str) -> bool:
    """Whether a user gets notifications of a template by a channel.

    What was chosen for the template, else for ``*``; without a choice it is on. None: a text
    without a template.
    """
    for key in (template, ANY_TEMPLATE):
        chosen = preferences.channels.get(key, {}).get(channel) if key is not None else None
        if chosen is not None:
            return chosen
    return True


def next_daily(digest: DailyDigest, now: float) -> float:
    """The next time of a daily digest after ``now``, both in seconds since the epoch.

    Local time in its time zone: a time that is left out when clocks are set forward comes an hour
    later, and one that comes twice counts once, the first time. Raises ``ValueError`` for an
    unknown time zone.
    """
    here = datetime.fromtimestamp(now, UTC).astimezone(zone(digest.time_zone))
    hour, minute = map(int, digest.at.split(":"))
    at = here.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
    while at.timestamp() <= now:
        at += timedelta(days=1)
    return at.timestamp()


class DeliveryRules:
    """What the preferences of a user mean for a delivery that is due (``PreferenceRules``)."""

    def is_off(self, claimed: Claimed, channel: str) -> bool:
        """Whether the user has switched the channel off for the template; never what is urgent."""
        return (
            claimed.preferences is not NO_PREFERENCES
            and claimed.type != URGENT
            and not is_on(claimed.preferences, claimed.template, channel)
        )

    def daily_at(self, claimed: Claimed, channel: str, now: float) -> float | None:
        """When it is sent with the user's daily digest; None: separately, as all that is urgent."""
        digest = claimed.preferences.daily_digest
        if digest is None or channel not in digest.channels or claimed.type == URGENT:
            return None
        try:
            return next_daily(digest, now)
        except ValueError as error:  # the system's time zones have changed: rather now than never
            log.warning("daily digest not kept user_id=%s error=%s", claimed.user_id, error)
            return None


def changed(before: Preferences, request: PreferencesRequest) -> Preferences:
    """The preferences after a request."""
    after = before
    if request.quiet_hours is not UNSET:
        after = replace(after, quiet_hours=request.quiet_hours)
    if request.daily_digest is not UNSET:
        after = replace(after, daily_digest=request.daily_digest)
    if request.channels is not UNSET:
        after = replace(after, channels=_merged(before.channels, request.channels))
    return after


def _merged(
    before: Mapping[str, Mapping[str, bool]],
    given: Mapping[str, Any] | None,
) -> dict[str, dict[str, bool]]:
    """The switches after a change; null removes (RFC 7396)."""
    if given is None:
        return {}
    merged: dict[str, dict[str, bool]] = {key: {**switches} for key, switches in before.items()}
    for key, switches in given.items():
        choices: dict[str, bool | None] = {**merged.pop(key, {}), **(switches or {})}
        kept = {channel: choice for channel, choice in choices.items() if choice is not None}
        if switches is not None and kept:
            merged[key] = kept
    return dict(sorted(merged.items()))


def preference_faults(
    request: PreferencesRequest, templates: Collection[str], bad: Collection[str] = ()
) -> list[Fault]:
    """Templates and time zones that there are not, and repeated channels.

    ``bad``: members of the request that have faults already.
    """
    faults: list[Fault] = []
    if request.channels and "channels" not in bad:
        known = (ANY_TEMPLATE, *templates)
        faults += [
            {"field": f"channels.{key}", "message": f"{key!r} is {one_of(known)}"}
            for key in request.channels
            if key not in known
        ]
    for name in ("quiet_hours", "daily_digest"):
        value = getattr(request, name)
        if isinstance(value, UnsetType) or value is None or name in bad:
            continue
        try:
            zone(value.time_zone)
        except ValueError as error:
            faults.append({"field": f"{name}.time_zone", "message": str(error)})
    return faults
