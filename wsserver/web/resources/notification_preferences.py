"""Preferences of notifications: ``/users/{user_id}/preferences``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.protocol.notifications import (
    ChannelName,
    DailyDigest,
    PreferencesRequest,
    QuietHours,
)
from wsserver.web.api.answers import Answer
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import SIGNED_IN, Call, Resource

RESOURCE = Resource("Notifications")


class NotificationPreferences(Answer):
    """What a user has chosen about notifications."""

    user_id: str
    channels: Annotated[
        dict[str, dict[ChannelName, bool]],
        Meta(description="by template or *, whether a channel is on; others are on"),
    ]
    quiet_hours: Annotated[QuietHours | None, Meta(description="those in force")]
    quiet_hours_from: Literal["preferences", "contacts"] | None
    daily_digest: DailyDigest | None
    templates: Annotated[list[str], Meta(description="the templates that there are")]


_EXAMPLE = {
    "channels": {"*": {"sms": False}, "device_status": {"email": False, "sms": True}},
    "quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Asia/Shanghai"},
    "daily_digest": {"at": "08:00", "time_zone": "Asia/Shanghai", "channels": ["email"]},
}


@RESOURCE.endpoint(
    "GET /users/{user_id}/preferences",
    SIGNED_IN,
    NotificationPreferences,
    errors=("forbidden", "not_found"),
)
async def _get(context: WebContext, call: Call) -> dict[str, Any]:
    """Get what a user has chosen about notifications; one's own with any token."""
    return await context.notification_preferences.get(call.caller, call.path["user_id"])


@RESOURCE.endpoint(
    "PATCH /users/{user_id}/preferences",
    SIGNED_IN,
    NotificationPreferences,
    action="preferences",
    request=PreferencesRequest,
    request_example=_EXAMPLE,
    rules_of=lambda context: context.notification_preferences.faults_of,
    errors=("forbidden", "not_found"),
)
async def _change(context: WebContext, call: Call) -> dict[str, Any]:
    """Change what a user has chosen about notifications; one's own with any token."""
    return await context.notification_preferences.change(
        call.caller, call.path["user_id"], call.body
    )
