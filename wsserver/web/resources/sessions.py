"""Sessions: ``/sessions``, and a session's connections, history and members."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from wsserver.paging import DEFAULT_LIMIT
from wsserver.protocol.requests import MembersRequest
from wsserver.protocol.types import Offset
from wsserver.web.api.answers import Answer, Listing
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PREFIX, Call, Endpoint
from wsserver.web.api.queries import Limit, PageQuery
from wsserver.web.resources.connections import CONNECTIONS_EXAMPLE, Connections


class Present(Answer):
    """A user in a session, with the number of connections."""

    user_id: str
    username: str | None
    connections: int


class Session(Answer):
    """A session: users who have joined it, its members, the position of its stream."""

    session_id: str
    users: list[Present]
    members: list[str]
    connections: int
    epoch: str
    offset: int


class Sessions(Listing):
    """Sessions, ordered by id."""

    sessions: list[Session]


class SessionMembers(Answer):
    """A session's member list."""

    session_id: str
    user_ids: list[str]


class SessionHistory(Answer):
    """A page of a session's kept messages: whole pushes as sent live, ascending by offset."""

    session_id: str
    messages: list[dict[str, Any]]
    epoch: str
    has_more: bool


class MessagesQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which messages of a stream: the last ones, those before an offset, or those after one."""

    before: Annotated[Offset, Meta(description="only offsets below this one")] | None = None
    after: Annotated[Offset, Meta(description="only offsets above this one")] | None = None
    limit: Limit = DEFAULT_LIMIT


async def _list_sessions(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_queries.sessions(call.caller, call.query.window)


async def _get_session(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_queries.session(call.caller, call.path["session_id"])


async def _list_connections(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_queries.session_connections(
        call.caller, call.path["session_id"], call.query.window
    )


async def _list_messages(context: WebContext, call: Call) -> dict[str, Any]:
    query = call.query
    return await context.admin_queries.history(
        call.caller, call.path["session_id"], query.before, query.after, query.limit
    )


async def _get_members(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_actions.members(call.caller, call.path["session_id"])


async def _replace_members(context: WebContext, call: Call) -> dict[str, Any]:
    return await context.admin_actions.replace_members(
        call.caller, call.path["session_id"], call.body
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions",
        access="connections:read",
        handle=_list_sessions,
        query=PageQuery,
        answer=Sessions,
        summary="List active sessions: those with at least one connection",
        tag="Sessions",
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}",
        access="connections:read",
        handle=_get_session,
        answer=Session,
        summary="Get a session; 404 if it was never used",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}/connections",
        access="connections:read",
        handle=_list_connections,
        query=PageQuery,
        answer=Connections,
        answer_example=CONNECTIONS_EXAMPLE,
        summary="List the connections that have joined a session",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}/history",
        access="messages:read",
        handle=_list_messages,
        query=MessagesQuery,
        answer=SessionHistory,
        summary="List the kept messages of a session, in pages backward or forward",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="GET",
        path=f"{PREFIX}/sessions/{{session_id}}/members",
        access="sessions:manage",
        handle=_get_members,
        answer=SessionMembers,
        summary="Get the member list: users who may join without a session claim in their token",
        tag="Sessions",
        errors=("not_found",),
    ),
    Endpoint(
        method="PUT",
        path=f"{PREFIX}/sessions/{{session_id}}/members",
        access="sessions:manage",
        handle=_replace_members,
        action="members",
        request=MembersRequest,
        request_example={"user_ids": ["user_67890", "user_13579"]},
        answer=SessionMembers,
        summary="Replace the member list; removed users leave the session immediately",
        tag="Sessions",
        errors=("not_found",),
    ),
)
