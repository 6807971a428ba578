"""Users: ``/online-users``; a user's connections: list, ping, close."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from wsserver.protocol.requests import DisconnectRequest, PingRequest
from wsserver.protocol.types import SessionState
from wsserver.web.api.answers import Answer, ClusterAnswer, ClusterListing, Listing, Time
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import NodePageQuery, PageQuery, SearchedPageQuery
from wsserver.web.http.replies import Reply
from wsserver.web.resources.connections import (
    CONNECTIONS_EXAMPLE,
    DISCONNECTED_EXAMPLE,
    Connections,
    Disconnected,
    Metadata,
)
from wsserver.web.resources.sessions import Conversation

RESOURCE = Resource("Users")
NDJSON_TYPE = "application/x-ndjson"


class OnlineUser(Answer):
    """A user with at least one connection."""

    user_id: str
    connections: int
    online_since: Time
    metadata: Metadata


class OnlineUsers(ClusterListing):
    """Connected users, ordered by id."""

    users: list[OnlineUser]


class Conversations(Listing):
    """Conversations of a user: sessions as a member, joined by a claim, or written in."""

    user_id: str
    conversations: list[Conversation]
    unread_total: Annotated[int, Meta(description="in all of them, whatever their state")]


class UnreadMessage(Answer):
    """A message that counts as unread."""

    message_id: str
    offset: int
    sender: str | None
    at: Time


class UnreadSession(Answer):
    """A session with unread messages; of those that have expired only the number is known."""

    session_id: str
    unread: int
    read_offset: int
    read_at: Annotated[Time | None, Meta(description="when the position was moved last")]
    messages: Annotated[list[UnreadMessage], Meta(description="the first ones")]


class UnreadSessions(Listing):
    """Sessions with messages that are unread to a user, newest activity first."""

    user_id: str
    sessions: list[UnreadSession]
    unread_total: int


class UnreadQuery(PageQuery, kw_only=True):
    """A page of sessions, with some messages of each."""

    messages: Annotated[
        int, Meta(ge=1, le=100, description="of each session at most, the oldest")
    ] = 20


class ConversationsQuery(PageQuery, kw_only=True):
    """A page of conversations, of one state or of all."""

    state: SessionState | None = None


class Pinged(Answer):
    """Round-trip time of one connection; null without an answer in time."""

    connection_id: str
    alive: bool
    rtt_ms: float | None


class PingResult(ClusterAnswer):
    """Round-trip times of a user's connections."""

    user_id: str
    online: bool
    connections: list[Pinged]


class Erased(Answer):
    """Numbers of rows that were erased."""

    erased: Annotated[dict[str, int], Meta(description="rows by table")]


_PING_RESULT = {
    "user_id": "user_67890",
    "online": True,
    "connections": [{"connection_id": "conn_12345", "alive": True, "rtt_ms": 12.5}],
}


@RESOURCE.endpoint(
    "GET /users/{user_id}/connections",
    "connections:read",
    Connections,
    query=NodePageQuery,
    answer_example=CONNECTIONS_EXAMPLE,
    errors=("not_found",),
)
async def _list_connections(context: WebContext, call: Call) -> dict[str, Any]:
    """List a user's connections; empty for an offline or unknown user."""
    return await context.admin_queries.user_connections(
        call.caller, call.path["user_id"], call.query.window, call.query.node
    )


@RESOURCE.endpoint(
    "GET /users/{user_id}/conversations",
    "messages:read",
    Conversations,
    query=ConversationsQuery,
    errors=("not_found",),
)
async def _list_conversations(context: WebContext, call: Call) -> dict[str, Any]:
    """List a user's conversations, newest activity first; empty for an unknown user."""
    query = call.query
    return await context.admin_queries.conversations(
        call.caller, call.path["user_id"], query.window, query.state
    )


@RESOURCE.endpoint(
    "GET /users/{user_id}/data",
    "users:erase",
    "application/x-ndjson",
    action="export_user_data",
    is_streamed=True,
    errors=("not_found", "storage_unavailable"),
)
async def _export_data(context: WebContext, call: Call) -> Reply:
    """Export all that is stored about a user, a JSON object with `table` and `row` on each line."""
    lines = await context.user_records.export(call.caller, call.path["user_id"])
    return Reply(b"", NDJSON_TYPE, chunks=lines)


@RESOURCE.endpoint(
    "DELETE /users/{user_id}/data",
    "users:erase",
    Erased,
    action="erase",
    answer_example={"erased": {"contacts": 1, "messages": 12, "participants": 3}},
    errors=("not_found", "storage_unavailable", "storage_full"),
)
async def _erase_data(context: WebContext, call: Call) -> dict[str, Any]:
    """Erase what is stored about a user; their messages in sessions get the deleted form."""
    return await context.user_records.erase(call.caller, call.path["user_id"])


@RESOURCE.endpoint(
    "GET /users/{user_id}/unread",
    "messages:read",
    UnreadSessions,
    query=UnreadQuery,
    errors=("not_found",),
)
async def _list_unread(context: WebContext, call: Call) -> dict[str, Any]:
    """List what is unread to a user: each message, and the position that holds it back."""
    query = call.query
    return await context.admin_queries.unread(
        call.caller, call.path["user_id"], query.window, query.messages
    )


@RESOURCE.endpoint(
    "GET /online-users",
    "connections:read",
    OnlineUsers,
    query=SearchedPageQuery,
    errors=("not_found",),
)
async def _list_online(context: WebContext, call: Call) -> dict[str, Any]:
    """List connected users."""
    query = call.query
    return await context.admin_queries.online_users(
        call.caller, query.window, query.node, query.search
    )


@RESOURCE.endpoint(
    "POST /users/disconnect",
    "connections:disconnect",
    Disconnected,
    action="disconnect",
    request=DisconnectRequest,
    request_example={"user_id": "user_67890", "reason": "signed out elsewhere"},
    answer_example=DISCONNECTED_EXAMPLE,
)
async def _disconnect(context: WebContext, call: Call) -> dict[str, Any]:
    """Close a user's connections, or one of them (4502)."""
    return await context.admin_actions.disconnect_user(call.caller, call.body)


@RESOURCE.endpoint(
    "POST /ping/{user_id}",
    "connections:read",
    PingResult,
    request=PingRequest,
    request_example={"timeout_s": 5},
    is_body_optional=True,
    answer_example=_PING_RESULT,
    errors=("not_found",),
)
async def _ping(context: WebContext, call: Call) -> dict[str, Any]:
    """Ping all connections of a user and wait for the answers."""
    return await context.admin_actions.ping_user(
        call.caller, call.path["user_id"], call.body.timeout_s
    )
