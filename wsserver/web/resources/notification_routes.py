"""The rows of the route table that have to do with notifications."""

from __future__ import annotations

from wsserver.notifications.contacts import contact_faults
from wsserver.notifications.notification_api import notify_faults
from wsserver.protocol.notifications import ContactsRequest, NotifyRequest
from wsserver.web.api.endpoint import PREFIX, PUBLIC, Endpoint
from wsserver.web.api.queries import NotificationsQuery
from wsserver.web.resources.handlers import notifications
from wsserver.web.schemas import notifications as answers

NOTIFICATION_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path=f"{PREFIX}/notify",
        access="notifications:send",
        handle=notifications.notify,
        action="notify",
        request=NotifyRequest,
        rules=notify_faults,
        answer=answers.Accepted,
        statuses={
            202: "Accepted: stored, and on its way",
            200: "Nothing new to tell, as every threshold that is reached was told of before",
        },
        summary="Notify users by several channels; what is accepted is stored first",
        tag="Notifications",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/notifications",
        access="notifications:read",
        handle=notifications.listing,
        query=NotificationsQuery,
        answer=answers.Notifications,
        summary="Notifications with their deliveries and attempts, newest first",
        tag="Notifications",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/notifications/{{notification_id}}",
        access="notifications:read",
        handle=notifications.one,
        answer=answers.Notification,
        summary="One notification with its deliveries and attempts",
        tag="Notifications",
        errors=("not_found",),
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/notifications/{{notification_id}}/retry",
        access="notifications:send",
        handle=notifications.retry,
        action="retry_notification",
        answer=answers.RetriedNotification,
        summary="Try dead letters again, and what had no address or no settings",
        tag="Notifications",
        errors=("not_found",),
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/notifications/{{notification_id}}/cancel",
        access="notifications:send",
        handle=notifications.cancel,
        action="cancel_notification",
        answer=answers.CancelledNotification,
        summary="Call off what has not been sent yet",
        tag="Notifications",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/users/{{user_id}}/contacts",
        access="notifications:send",
        handle=notifications.contacts,
        answer=answers.Contacts,
        summary="Where a user can be reached",
        tag="Notifications",
        errors=("not_found",),
    ),
    Endpoint(
        method="PUT",
        path=f"{PREFIX}/users/{{user_id}}/contacts",
        access="notifications:send",
        handle=notifications.replace_contacts,
        action="contacts",
        request=ContactsRequest,
        rules=contact_faults,
        answer=answers.Contacts,
        summary="Enter where a user can be reached, in the place of what there was",
        tag="Notifications",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/push-key",
        access=PUBLIC,
        handle=notifications.push_key,
        answer=answers.PushKey,
        summary="The key that browsers subscribe to Web Push with",
        tag="Notifications",
    ),
)
