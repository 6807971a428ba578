"""Notifications: sent, looked at, retried, cancelled; where users can be reached."""

from __future__ import annotations

from typing import Any

from wsserver.storage.notifications.notification_rows import Filters
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call
from wsserver.web.api.queries import moment_of
from wsserver.web.http.replies import Reply, json_reply


async def notify(context: WebContext, call: Call) -> Reply:
    """Accept a notification."""
    answer = await context.desk.notify(call.who, call.body)
    return json_reply(answer, 200 if answer["notification_id"] is None else 202)


async def listing(context: WebContext, call: Call) -> dict[str, Any]:
    """Notifications, newest first."""
    query = call.query
    since, until = (
        None if text is None else moment_of(text, name, context.clock)
        for name, text in (("since", query.since), ("until", query.until))
    )
    filters = Filters(
        since=since,
        until=until,
        type=query.type,
        template=query.template,
        user_id=query.user_id,
        channel=query.channel,
        state=query.state,
    )
    return await context.desk.listing(call.who, query.window, filters)


async def one(context: WebContext, call: Call) -> dict[str, Any]:
    """One notification."""
    return await context.desk.one(call.who, call.path["notification_id"])


async def retry(context: WebContext, call: Call) -> dict[str, Any]:
    """Try dead letters again."""
    return await context.desk.retry(call.who, call.path["notification_id"])


async def cancel(context: WebContext, call: Call) -> dict[str, Any]:
    """Call off what was not sent."""
    return await context.desk.cancel(call.who, call.path["notification_id"])


async def contacts(context: WebContext, call: Call) -> dict[str, Any]:
    """Where a user can be reached."""
    return await context.desk.contacts(call.who, call.path["user_id"])


async def replace_contacts(context: WebContext, call: Call) -> dict[str, Any]:
    """Enter where a user can be reached."""
    return await context.desk.replace_contacts(call.who, call.path["user_id"], call.body)


async def push_key(context: WebContext, call: Call) -> dict[str, Any]:
    """The key that browsers subscribe to Web Push with."""
    return {"public_key": context.push_key}
