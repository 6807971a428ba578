"""Notifications: ``/notify``, ``/notifications``, ``/users/{user_id}/contacts``, ``/push-key``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.notifications.contacts import contact_faults
from wsserver.protocol.notifications import (
    ChannelName,
    ContactsRequest,
    DeliveryState,
    Device,
    Locale,
    NotificationType,
    NotifyRequest,
    PushSubscription,
    QuietHours,
    TemplateName,
)
from wsserver.protocol.types import UserId
from wsserver.storage.notifications.notification_rows import Filters
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PUBLIC, Call, Resource
from wsserver.web.api.queries import Moment, PageQuery, time_range
from wsserver.web.http.replies import Reply, json_reply

RESOURCE = Resource("Notifications")


class DeliveryAttempt(Answer):
    """A delivery attempt; ``detail`` is the provider's answer."""

    at: Time
    outcome: Literal["sent", "retry", "failed", "interrupted"]
    detail: str


WithheldReason = Annotated[
    Literal["switched_off", "quiet_hours", "digest", "daily_digest"],
    Meta(description="why the user does not get it, or not yet"),
]


class NotificationDelivery(Answer):
    """Delivery of a notification to one user by one channel."""

    delivery_id: Annotated[str, Meta(description="for the channel websocket: the message id")]
    channel: ChannelName
    user_id: str
    state: DeliveryState
    attempts: list[DeliveryAttempt]
    next_attempt_at: Time | None = None
    reason: WithheldReason | None = None
    sent_at: Time | None = None
    acknowledged_at: Time | None = None
    is_escalation: (
        Annotated[bool, Meta(description="true: cancelled by an acknowledgement")] | None
    ) = None


class Accepted(Answer):
    """An accepted notification; only empty ``deliveries`` if no new threshold is reached."""

    notification_id: str | None
    deliveries: list[NotificationDelivery]
    created_at: Time | None = None
    expires_at: Time | None = None
    type: NotificationType | None = None
    template: str | None = None
    params: dict[str, Any] | None = None
    title: str | None = None
    message: str | None = None
    action_url: str | None = None
    auto_close: bool | None = None
    recipients: dict[str, Any] | None = None
    sender: str | None = None
    states: dict[str, int] | None = None
    truncated: bool | None = None


class Notification(Answer):
    """A notification, with texts in the server's default language."""

    notification_id: str
    created_at: Time
    expires_at: Time
    type: NotificationType
    template: str | None
    params: dict[str, Any] | None
    title: str
    message: str
    action_url: str | None
    auto_close: bool
    recipients: Annotated[dict[str, Any], Meta(description="as given in the request")]
    sender: str | None
    states: Annotated[dict[str, int], Meta(description="number of deliveries by state")]
    deliveries: list[NotificationDelivery]
    truncated: Annotated[bool, Meta(description="true: not all deliveries are listed")]


class Notifications(Listing):
    """Notifications, newest first, each with its first 100 deliveries."""

    notifications: list[Notification]


class RetriedNotification(Notification):
    """The notification, and the number of deliveries that are tried again."""

    retried: int


class CancelledNotification(Notification):
    """The notification, and the number of cancelled deliveries."""

    cancelled: int


class Contacts(Answer):
    """Contact addresses of a user."""

    user_id: str
    organization_id: str | None
    """The user's organization: set with the contacts, or of their latest token."""
    email: str | None
    phone: str | None
    push: list[PushSubscription]
    devices: list[Device]
    locale: Locale | None
    quiet_hours: QuietHours | None


class PushKey(Answer):
    """Public VAPID key for Web Push, base64url; null without Web Push."""

    public_key: str | None


class NotificationsQuery(PageQuery, kw_only=True):
    """Filters of notifications: all must match; those of deliveries the same delivery."""

    user_id: (
        Annotated[UserId, Meta(description="only this user's deliveries are listed")] | None
    ) = None
    channel: ChannelName | None = None
    state: DeliveryState | None = None
    type: NotificationType | None = None
    template: TemplateName | None = None
    since: Moment | None = None
    until: Moment | None = None


_NOTIFY = {
    "user_ids": ["user_67890"],
    "template": "device_status",
    "params": {
        "device_id": "device_123",
        "device_name": "张三的微信",
        "old_status": "online",
        "new_status": "offline",
    },
}
_CONTACTS = {
    "organization_id": "org_123",
    "email": "user@example.com",
    "phone": "+8613800138000",
    "locale": "zh-CN",
    "quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Asia/Shanghai"},
}


@RESOURCE.endpoint(
    "POST /notify",
    "notifications:send",
    Accepted,
    action="notify",
    request=NotifyRequest,
    request_example=_NOTIFY,
    rules_of=lambda context: context.notifications.faults_of,
    statuses={
        202: "Accepted: stored, delivery has begun",
        200: "Nothing sent: no new threshold of the quota is reached",
    },
)
async def _notify(context: WebContext, call: Call) -> Reply:
    """Send a notification by several channels; accepted once it is stored."""
    answer = await context.notifications.notify(call.caller, call.body)
    return json_reply(answer, 200 if answer["notification_id"] is None else 202)


@RESOURCE.endpoint(
    "GET /notifications",
    "notifications:read",
    Notifications,
    query=NotificationsQuery,
    query_rules=lambda context, query: context.notifications.query_faults(query),
)
async def _list_notifications(context: WebContext, call: Call) -> dict[str, Any]:
    """List notifications with their deliveries and attempts, newest first."""
    query = call.query
    since, until = time_range(query, context.clock)
    filters = Filters(
        since=since,
        until=until,
        type=query.type,
        template=query.template,
        user_id=query.user_id,
        channel=query.channel,
        state=query.state,
    )
    return await context.notifications.listing(call.caller, query.window, filters)


@RESOURCE.endpoint(
    "GET /notifications/{notification_id}",
    "notifications:read",
    Notification,
    errors=("not_found",),
)
async def _get_notification(context: WebContext, call: Call) -> dict[str, Any]:
    """Get a notification with its deliveries and attempts."""
    return await context.notifications.one(call.caller, call.path["notification_id"])


@RESOURCE.endpoint(
    "POST /notifications/{notification_id}/retry",
    "notifications:send",
    RetriedNotification,
    action="retry_notification",
    errors=("not_found",),
)
async def _retry(context: WebContext, call: Call) -> dict[str, Any]:
    """Retry deliveries that failed, had no address or no settings."""
    return await context.notifications.retry(call.caller, call.path["notification_id"])


@RESOURCE.endpoint(
    "POST /notifications/{notification_id}/cancel",
    "notifications:send",
    CancelledNotification,
    action="cancel_notification",
    errors=("not_found",),
)
async def _cancel(context: WebContext, call: Call) -> dict[str, Any]:
    """Cancel deliveries that were not sent yet."""
    return await context.notifications.cancel(call.caller, call.path["notification_id"])


@RESOURCE.endpoint(
    "GET /users/{user_id}/contacts", "notifications:send", Contacts, errors=("not_found",)
)
async def _get_contacts(context: WebContext, call: Call) -> dict[str, Any]:
    """Get the contact addresses of a user."""
    return await context.notifications.contacts(call.caller, call.path["user_id"])


@RESOURCE.endpoint(
    "PUT /users/{user_id}/contacts",
    "notifications:send",
    Contacts,
    action="contacts",
    request=ContactsRequest,
    request_example=_CONTACTS,
    rules=contact_faults,
    errors=("not_found",),
)
async def _replace_contacts(context: WebContext, call: Call) -> dict[str, Any]:
    """Replace the contact addresses of a user."""
    return await context.notifications.replace_contacts(
        call.caller, call.path["user_id"], call.body
    )


@RESOURCE.endpoint("GET /push-key", PUBLIC, PushKey)
async def _get_push_key(context: WebContext, call: Call) -> dict[str, Any]:
    """Get the public VAPID key for Web Push subscriptions."""
    return {"public_key": context.push_key}
