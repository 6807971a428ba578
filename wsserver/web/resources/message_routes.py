"""The rows of the route table that have to do with messages: sent, explained, traced."""

from __future__ import annotations

from wsserver.protocol import requests
from wsserver.realtime.operations.publishing import publish_faults
from wsserver.web.api.endpoint import PREFIX, Endpoint
from wsserver.web.api.queries import TraceQuery
from wsserver.web.resources.handlers import messages
from wsserver.web.schemas import core as answers
from wsserver.web.schemas.traces import Trace

MESSAGE_ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path=f"{PREFIX}/broadcast",
        access="messages:publish",
        handle=messages.broadcast,
        action="broadcast",
        request=requests.BroadcastRequest,
        rules=publish_faults,
        answer=answers.Published,
        summary="Send to everybody, one organization or one role",
        tag="Messages",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/messages",
        access="messages:publish",
        handle=messages.publish,
        action="publish",
        request=requests.PublishRequest,
        rules=publish_faults,
        answer=answers.Published,
        summary="Send to a target",
        tag="Messages",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/users/{{user_id}}/messages",
        access="messages:publish",
        handle=messages.to_user,
        action="publish",
        request=requests.TargetedBody,
        rules=publish_faults,
        answer=answers.Published,
        summary="Send to all connections of a user",
        tag="Messages",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/sessions/{{session_id}}/messages",
        access="messages:publish",
        handle=messages.to_session,
        action="publish",
        request=requests.TargetedBody,
        rules=publish_faults,
        answer=answers.Published,
        summary="Send to everybody in a session",
        tag="Messages",
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/messages/batch",
        access="messages:publish",
        handle=messages.batch,
        action="batch",
        request=requests.BatchRequest,
        answer=answers.Batch,
        summary="Send many messages; each is judged by itself",
        tag="Messages",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/messages/{{message_id}}",
        access="messages:read",
        handle=messages.trace,
        query=TraceQuery,
        answer=Trace,
        summary="Where a message went: to whom, when, and to whom not and why",
        tag="Messages",
        errors=("not_found",),
    ),
    Endpoint(
        method="POST",
        path=f"{PREFIX}/messages/explain",
        access="messages:publish",
        handle=messages.explain,
        request=requests.PublishRequest,
        rules=publish_faults,
        answer=answers.Explanation,
        summary="Who would get a message and who not; sends nothing",
        tag="Messages",
    ),
)
