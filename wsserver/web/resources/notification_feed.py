"""Feed of notifications: ``/users/{user_id}/notifications``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from wsserver.notifications.feed_api import WantedFeed, mark_faults
from wsserver.protocol.notifications import MarkNotificationsRequest, NotificationType
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import SIGNED_IN, Call, Resource
from wsserver.web.api.queries import PageQuery

RESOURCE = Resource("Notifications")

UnreadCount = Annotated[int, Meta(description="in the whole feed, without what is archived")]


class FeedNotification(Answer):
    """A notification in a user's feed, in the user's language."""

    id: str
    title: str
    message: str
    type: NotificationType
    action_url: str | None
    auto_close: bool
    timestamp: Time
    template: str | None
    read_at: Time | None
    archived_at: Time | None


class Feed(Listing):
    """Notifications of a user, newest first."""

    user_id: str
    notifications: list[FeedNotification]
    unread: UnreadCount


class MarkedNotifications(Answer):
    """How many notifications were changed, and how many are unread then."""

    changed: int
    unread: UnreadCount


class FeedQuery(PageQuery, kw_only=True):
    """A page of a feed."""

    archived: Annotated[
        Literal["true", "false"],
        Meta(description="true: those that are archived, instead of all others"),
    ] = "false"
    unread: Annotated[
        Literal["true", "false"], Meta(description="true: only those that are unread")
    ] = "false"


_MARKED = {"changed": 3, "unread": 0}


@RESOURCE.endpoint(
    "GET /users/{user_id}/notifications",
    SIGNED_IN,
    Feed,
    query=FeedQuery,
    errors=("forbidden", "not_found"),
)
async def _list(context: WebContext, call: Call) -> dict[str, Any]:
    """List the notifications that a user has got; one's own with any token."""
    query = call.query
    wanted = WantedFeed(
        limit=query.limit,
        cursor=query.cursor,
        archived=query.archived == "true",
        unread=query.unread == "true",
    )
    return await context.notification_feed.listing(call.caller, call.path["user_id"], wanted)


@RESOURCE.endpoint(
    "PATCH /users/{user_id}/notifications",
    SIGNED_IN,
    MarkedNotifications,
    request=MarkNotificationsRequest,
    request_example={"up_to": "notify_01hk153x00h9v3t7n2c4c", "read": True},
    answer_example=_MARKED,
    rules=mark_faults,
    errors=("forbidden", "not_found", "storage_full"),
)
async def _mark(context: WebContext, call: Call) -> dict[str, Any]:
    """Mark notifications of a user as read or archived; one's own with any token."""
    return await context.notification_feed.mark(call.caller, call.path["user_id"], call.body)
