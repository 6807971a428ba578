"""Messages: publish to everybody, to a target or in batches, trace, explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from msgspec.json import Decoder

from wsserver.protocol.origin import Via
from wsserver.protocol.requests import (
    BatchRequest,
    BroadcastRequest,
    EditRequest,
    PublishRequest,
    ReadBatch,
    TargetedBody,
)
from wsserver.protocol.targets import TargetType
from wsserver.protocol.types import UserId
from wsserver.realtime.operations.publishing import publish_faults
from wsserver.realtime.tracing.trace_recipients import State
from wsserver.web.api.answers import Answer, ClusterAnswer, FieldError, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.http.replies import Reply, json_reply

RESOURCE = Resource("Messages")

ROUTINE_TYPES = frozenset({"ai_processing_status", "typing"})
"""Types that backends send for each word or key press; publishes of these are not logged."""


class Published(Answer):
    """Counts of connections matched, sent to and failed; position if the message is kept."""

    message_id: str
    matched: int
    sent: int
    failed: int
    stream: str | None = None
    epoch: str | None = None
    offset: int | None = None
    unreachable: Annotated[
        list[str] | None, Meta(description="nodes that did not answer in time and are not counted")
    ] = None


class BatchResult(Answer):
    """Result of one message of a batch: ``status`` 200 with counts, or the error."""

    status: int
    message_id: str | None = None
    matched: int | None = None
    sent: int | None = None
    failed: int | None = None
    stream: str | None = None
    epoch: str | None = None
    offset: int | None = None
    unreachable: Annotated[
        list[str] | None, Meta(description="nodes that did not answer in time and are not counted")
    ] = None
    code: str | None = None
    detail: str | None = None
    field: str | None = None
    errors: list[FieldError] | None = None


class Batch(Answer):
    """Results of a batch, one for each message, in order."""

    results: list[BatchResult]
    unreachable: Annotated[
        list[str] | None, Meta(description="nodes that did not answer in time and are not counted")
    ] = None


class Changed(Answer):
    """A changed message, and the position of the record of its change."""

    message_id: str
    stream: str
    epoch: str
    offset: int


class Recipient(Answer):
    """A connection that would get a message."""

    user_id: str
    connection_id: str


class Excluded(Answer):
    """A user or connection that would not get a message, and the reason."""

    user_id: str
    reason: Literal["excluded", "other_organization", "other_role", "offline", "not_joined"]
    connection_id: str | None = None
    will_be_kept: Annotated[bool | None, Meta(description="true: stored until they connect")] = None


class Explanation(ClusterAnswer):
    """Recipients of a message and those excluded; the first 1000 of each."""

    matched: int
    recipients: list[Recipient]
    excluded: list[Excluded]
    stream: Annotated[str | None, Meta(description="stream that would keep it")] = None
    truncated: Annotated[bool | None, Meta(description="true: not all are listed")] = None


class Step(Answer):
    """State of a message with a recipient, and its time."""

    state: State
    at: Time


class TracedTarget(Answer):
    """Target of a traced message."""

    type: TargetType
    id: str | None = None


class AcceptedFrom(Answer):
    """Publisher of a message; null for the server itself, or outside the caller's organization."""

    user_id: str | None
    role: str | None
    via: Via
    id: Annotated[str | None, Meta(description="of the request or the connection")]


class TracedRecipient(Answer):
    """Delivery of a message to one connection, or to an offline user."""

    user_id: str
    state: State
    history: list[Step]
    connection_id: str | None = None
    node: Annotated[str | None, Meta(description="of the connection, if there are several")] = None
    reason: Annotated[str | None, Meta(description="why it is dropped or pending")] = None


class TracedOutside(Answer):
    """Delivery of a message to somebody outside of the server, as a contact of a messenger."""

    by: Annotated[str, Meta(description="what sends it, as `account main`")]
    recipient: str
    state: Literal["pending", "sent", "failed"]
    attempts: int
    at: Annotated[Time | None, Meta(description="when it was sent or given up")] = None
    due_at: Annotated[Time | None, Meta(description="of the next attempt")] = None
    reason: Annotated[str | None, Meta(description="why the last attempt failed")] = None


class TraceSummary(Answer):
    """Number of recipients by state."""

    total: int
    pending: int
    sent: int
    delivered: int
    read: int
    dropped: int
    expired: int


class Trace(ClusterAnswer):
    """Trace of a message: its origin, and its state with each recipient."""

    message_id: str
    type: str
    class_: Literal["live", "kept"] = field(name="class")
    target: TracedTarget
    accepted_at: Time
    accepted_from: AcceptedFrom
    recipients: list[TracedRecipient]
    truncated: Annotated[bool, Meta(description="true: not all recipients are listed")]
    summary: TraceSummary
    outside: list[TracedOutside] | None = None
    organization_id: str | None = None
    role: str | None = None
    stream: str | None = None
    epoch: str | None = None
    offset: int | None = None


class TraceQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Filter of a trace by user."""

    user_id: (
        Annotated[UserId, Meta(description="only this user; also why they were not a recipient")]
        | None
    ) = None


def _reply(call: Call, answer: dict[str, Any]) -> Reply:
    return json_reply(answer, is_routine=call.body.type in ROUTINE_TYPES)


def _is_routine(message: PublishRequest | Mapping[str, Any]) -> bool:
    kind = message.type if isinstance(message, PublishRequest) else message.get("type")
    return isinstance(kind, str) and kind in ROUTINE_TYPES


_PUBLISH = {
    "target": {"type": "user", "id": "user_67890"},
    "type": "order.shipped",
    "data": {"order_id": "o-1"},
}
_TARGETED = {"type": "new_message", "session_id": "session_abc123", "content": "您好"}
_BATCH = {
    "messages": [
        {
            "target": {"type": "session", "id": "session_abc123"},
            "type": "ai_processing_status",
            "status": "processing",
            "progress": 0.4,
        }
    ]
}
_PUBLISHED = {"message_id": "msg_12345", "matched": 2, "sent": 2, "failed": 0}
_TRACE = {
    "message_id": "msg_12345",
    "type": "new_message",
    "class": "live",
    "target": {"type": "session", "id": "session_abc123"},
    "accepted_at": "2024-01-15T14:30:00.000Z",
    "accepted_from": {"user_id": "user_67890", "role": "user", "via": "socket", "id": "conn_12345"},
    "recipients": [
        {
            "user_id": "user_13579",
            "connection_id": "conn_67890",
            "state": "sent",
            "history": [{"state": "sent", "at": "2024-01-15T14:30:00.000Z"}],
        }
    ],
    "truncated": False,
    "summary": {
        "total": 1,
        "pending": 0,
        "sent": 1,
        "delivered": 0,
        "read": 0,
        "dropped": 0,
        "expired": 0,
    },
}


@RESOURCE.endpoint(
    "POST /broadcast",
    "messages:publish",
    Published,
    action="broadcast",
    request=BroadcastRequest,
    request_example={"type": "announcement", "data": {"text": "Maintenance at 22:00"}},
    rules=publish_faults,
    answer_example=_PUBLISHED,
)
async def _broadcast(context: WebContext, call: Call) -> Reply:
    """Publish to all users, to one organization or to one role."""
    return _reply(call, await context.publishing.broadcast(call.caller, call.body))


@RESOURCE.endpoint(
    "POST /messages",
    "messages:publish",
    Published,
    action="publish",
    request=PublishRequest,
    request_example=_PUBLISH,
    rules=publish_faults,
    answer_example=_PUBLISHED,
)
async def _publish(context: WebContext, call: Call) -> Reply:
    """Publish to a target."""
    return _reply(call, await context.publishing.publish(call.caller, call.body))


@RESOURCE.endpoint(
    "POST /users/{user_id}/messages",
    "messages:publish",
    Published,
    errors=("not_found",),
    action="publish",
    request=TargetedBody,
    request_example=_TARGETED,
    rules=publish_faults,
    answer_example=_PUBLISHED,
)
async def _publish_to_user(context: WebContext, call: Call) -> Reply:
    """Publish to all connections of a user."""
    user_id = call.path["user_id"]
    return _reply(call, await context.publishing.publish_to_user(call.caller, user_id, call.body))


@RESOURCE.endpoint(
    "POST /sessions/{session_id}/messages",
    "messages:publish",
    Published,
    errors=("not_found",),
    action="publish",
    request=TargetedBody,
    request_example=_TARGETED,
    rules=publish_faults,
    answer_example=_PUBLISHED,
)
async def _publish_to_session(context: WebContext, call: Call) -> Reply:
    """Publish to all connections in a session."""
    answer = await context.publishing.publish_to_session(
        call.caller, call.path["session_id"], call.body
    )
    return _reply(call, answer)


@RESOURCE.endpoint(
    "POST /messages/batch",
    "messages:publish",
    Batch,
    action="batch",
    request=BatchRequest,
    faultless=Decoder(ReadBatch),
    request_example=_BATCH,
)
async def _publish_batch(context: WebContext, call: Call) -> Reply:
    """Publish several messages; each has its own result."""
    answer = await context.publishing.batch(call.caller, call.body)
    return json_reply(answer, is_routine=all(map(_is_routine, call.body.messages)))


@RESOURCE.endpoint(
    "GET /messages/{message_id}",
    "messages:read",
    Trace,
    query=TraceQuery,
    answer_example=_TRACE,
    errors=("not_found",),
)
async def _trace(context: WebContext, call: Call) -> dict[str, Any]:
    """Trace a message: its recipients with state and time, and reasons for failures."""
    return await context.tracing.trace(call.caller, call.path["message_id"], call.query.user_id)


@RESOURCE.endpoint(
    "PATCH /messages/{message_id}",
    "messages:publish",
    Changed,
    action="edit_message",
    request=EditRequest,
    request_example={"content": "您好！"},
    errors=("not_found", "edit_window_over"),
)
async def _edit(context: WebContext, call: Call) -> dict[str, Any]:
    """Edit a message of a session: one's own, or with messages:moderate any."""
    message_id = call.path["message_id"]
    record = await context.message_changes.edit(call.caller, message_id, call.body.content)
    return {"message_id": message_id, **record.position}


@RESOURCE.endpoint(
    "DELETE /messages/{message_id}",
    "messages:publish",
    Changed,
    action="delete_message",
    errors=("not_found", "edit_window_over"),
)
async def _delete(context: WebContext, call: Call) -> dict[str, Any]:
    """Delete a message of a session: one's own, or with messages:moderate any."""
    message_id = call.path["message_id"]
    record = await context.message_changes.delete(call.caller, message_id)
    return {"message_id": message_id, **record.position}


@RESOURCE.endpoint(
    "POST /messages/explain",
    "messages:publish",
    Explanation,
    request=PublishRequest,
    request_example=_PUBLISH,
    rules=publish_faults,
)
async def _explain(context: WebContext, call: Call) -> dict[str, Any]:
    """Explain who would get a message and who would not, without sending it."""
    return await context.publishing.explain(call.caller, call.body)
