"""What the endpoints of notifications answer, as types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.protocol.notifications import (
    ChannelName,
    DeliveryState,
    Locale,
    NotificationType,
    PushSubscription,
    QuietHours,
)
from wsserver.web.schemas.core import Answer, Listing, Time


class DeliveryAttempt(Answer):
    """One try; ``detail`` is what the provider said."""

    at: Time
    outcome: Literal["sent", "retry", "failed", "interrupted"]
    detail: str


class NotificationDelivery(Answer):
    """A notification on its way to one user by one channel."""

    delivery_id: Annotated[str, Meta(description="by websocket: the id of the message")]
    channel: ChannelName
    user_id: str
    state: DeliveryState
    attempts: list[DeliveryAttempt]
    next_attempt_at: Time | None = None
    sent_at: Time | None = None
    acknowledged_at: Time | None = None
    is_escalation: (
        Annotated[bool, Meta(description="true: called off by an acknowledgement")] | None
    ) = None


class Accepted(Answer):
    """An accepted notification; of a warning that is not new only the empty ``deliveries``."""

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
    """A notification, with its texts in the server's own language."""

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
    recipients: Annotated[dict[str, Any], Meta(description="as they were asked for")]
    sender: str | None
    states: Annotated[dict[str, int], Meta(description="how many deliveries are in which state")]
    deliveries: list[NotificationDelivery]
    truncated: Annotated[bool, Meta(description="true: not all deliveries are listed")]


class Notifications(Listing):
    """Notifications, newest first, each with its first 100 deliveries."""

    notifications: list[Notification]


class RetriedNotification(Notification):
    """The notification, and how many of its deliveries are tried again."""

    retried: int


class CancelledNotification(Notification):
    """The notification, and how many of its deliveries were called off."""

    cancelled: int


class Contacts(Answer):
    """Where a user can be reached."""

    user_id: str
    organization_id: str | None
    """The organization that the user belongs to: entered, or of the latest token."""
    email: str | None
    phone: str | None
    push: list[PushSubscription]
    locale: Locale | None
    quiet_hours: QuietHours | None


class PushKey(Answer):
    """The public half of the server's VAPID key, base64url; null: there is no Web Push."""

    public_key: str | None
