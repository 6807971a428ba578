"""Sessions: ``/sessions``, and a session's connections, history and members."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from wsserver.paging import DEFAULT_LIMIT
from wsserver.protocol.requests import (
    HolderRequest,
    MembersRequest,
    SessionRequest,
    session_faults,
)
from wsserver.protocol.types import HolderView, JsonObject, Offset, SessionState, Term
from wsserver.storage.messages.conversations import SessionFilter
from wsserver.web.api.answers import (
    Answer,
    ClusterAnswer,
    ClusterListing,
    Time,
    Unreachable,
)
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Resource
from wsserver.web.api.queries import (
    Limit,
    Moment,
    NodePageQuery,
    SearchedPageQuery,
    moment_of,
    time_range,
)
from wsserver.web.resources.connections import CONNECTIONS_EXAMPLE, Connections

RESOURCE = Resource("Sessions")


ReadOffset = Annotated[
    int | None, Meta(description="everything up to this offset is read; null: has no position")
]


class Present(Answer):
    """A user in a session, with the number of connections."""

    user_id: str
    username: str | None
    connections: int


class SessionSummary(ClusterAnswer):
    """A session: users who have joined it, its members, who answers, the position of its stream."""

    session_id: str
    title: str | None
    state: SessionState
    holder: HolderView | None
    users: list[Present]
    members: list[str]
    connections: int
    epoch: str
    offset: int


class ConversationState(Answer):
    """A session as a conversation: who answers in it, its state, its last message."""

    session_id: str
    title: str | None
    state: SessionState
    holder: Annotated[HolderView | None, Meta(description="who answers now; null: nobody")]
    term: Term
    organization_id: Annotated[str | None, Meta(description="null: that of members and writers")]
    metadata: JsonObject
    created_at: Annotated[Time | None, Meta(description="null before the first message or member")]
    updated_at: Time | None
    last_message: Annotated[
        JsonObject | None, Meta(description="null, too, without access to messages")
    ]
    offset: int
    members: list[str]
    active: Annotated[list[str], Meta(description="user ids of those who have joined it now")]


class Conversation(ConversationState):
    """A conversation of a user, with the first 1000 members."""

    unread: int
    read_offset: int


class ReadPosition(Answer):
    """How far a member has read."""

    user_id: str
    read_offset: ReadOffset


class Session(ConversationState):
    """A session with the users who have joined it, and the position of its stream."""

    users: list[Present]
    connections: int
    epoch: str
    positions: Annotated[list[ReadPosition], Meta(description="of the members")]
    unreachable: Unreachable | UnsetType = UNSET


class PastPosition(Answer):
    """How far a user had read."""

    user_id: str
    read_offset: int
    is_exact: Annotated[bool, Meta(description="false: at least so far")]


class Visit(Answer):
    """A user who was in a session."""

    user_id: str
    since: Time
    until: Annotated[Time | None, Meta(description="null: still is, or it is not known")]


class LoggedChange(Answer):
    """A change of a session, with the value that it set."""

    at: Time
    by: str
    field: str
    value: Any


class PastSession(Answer):
    """A session as it was at a time."""

    session_id: str
    at: Time
    title: str | None
    state: SessionState
    holder: HolderView | None
    term: Term
    organization_id: str | None
    metadata: JsonObject
    offset: Annotated[int, Meta(description="of the last message of that time")]
    members: list[str]
    positions: list[PastPosition]
    present: Annotated[list[Visit], Meta(description="who was in it")]
    changes: Annotated[list[LoggedChange], Meta(description="the latest before that time")]


class PastQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """The time to look back to; without: now."""

    at: Moment | None = None


class Held(Answer):
    """Who holds a session, and its term."""

    holder: HolderView | None
    term: Term


class Sessions(ClusterListing):
    """Sessions, ordered by id."""

    sessions: list[SessionSummary]


class SessionMembers(Answer):
    """A session's member list."""

    session_id: str
    user_ids: list[str]


class ReplacedMembers(SessionMembers):
    """A session's new member list, which a node in ``unreachable`` applies when it goes on."""

    unreachable: Unreachable | UnsetType = UNSET


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
    since: Moment | None = None
    until: Moment | None = None
    limit: Limit = DEFAULT_LIMIT
    changes: Annotated[
        Literal["true", "false"], Meta(description="true: also the records of edits and deletions")
    ] = "false"


class SessionsQuery(SearchedPageQuery, kw_only=True):
    """Page of the active sessions, or of those with a state or holder."""

    state: SessionState | None = None
    holder: (
        Annotated[
            str,
            Meta(
                pattern=r"^(none|(ai|user)(:[A-Za-z0-9._:@|+-]{1,128})?)(?!\n)$",
                description="none, ai, user, ai:NAME or user:ID",
            ),
        ]
        | None
    ) = None

    @property
    def wanted(self) -> SessionFilter | None:
        """The state and holder that are wanted; None: those of any."""
        is_any = self.state is None and self.holder is None
        return None if is_any else SessionFilter(self.state, self.holder)


@RESOURCE.endpoint(
    "GET /sessions", "connections:read", Sessions, query=SessionsQuery, errors=("not_found",)
)
async def _list_sessions(context: WebContext, call: Call) -> dict[str, Any]:
    """List active sessions: those with at least one connection.

    With ``state`` or ``holder`` all sessions, also without connections: the 5000 changed last.
    """
    query = call.query
    return await context.admin_queries.sessions(
        call.caller, query.window, query.node, query.wanted, query.search
    )


@RESOURCE.endpoint("GET /sessions/{session_id}", "connections:read", Session, errors=("not_found",))
async def _get_session(context: WebContext, call: Call) -> dict[str, Any]:
    """Get a session; 404 if it was never used."""
    return await context.admin_queries.session(call.caller, call.path["session_id"])


@RESOURCE.endpoint(
    "GET /sessions/{session_id}/past",
    "connections:read",
    PastSession,
    query=PastQuery,
    errors=("not_found",),
)
async def _get_past(context: WebContext, call: Call) -> dict[str, Any]:
    """Get a session as it was at a time: state, holder, members, and who was in it."""
    asked = call.query.at
    at = context.clock.wall() if asked is None else moment_of(asked, "at", context.clock)
    return await context.admin_queries.session_at(call.caller, call.path["session_id"], at)


@RESOURCE.endpoint(
    "PATCH /sessions/{session_id}",
    "sessions:manage",
    Session,
    action="session",
    request=SessionRequest,
    request_example={"title": "Acme", "state": "pending", "metadata": {"crm": "A-17"}},
    rules=session_faults,
    errors=("not_found", "organization_set"),
)
async def _change_session(context: WebContext, call: Call) -> dict[str, Any]:
    """Change a session's title, state, metadata or organization; creates one that is new."""
    session_id = call.path["session_id"]
    await context.session_actions.change(call.caller, session_id, call.body)
    return await context.admin_queries.session(call.caller, session_id, "sessions:manage")


@RESOURCE.endpoint(
    "POST /sessions/{session_id}/holder",
    "sessions:manage",
    Held,
    action="holder",
    request=HolderRequest,
    request_example={"holder": {"type": "user", "id": "user_67890"}},
    errors=("not_found", "term_changed"),
)
async def _hold_session(context: WebContext, call: Call) -> dict[str, Any]:
    """Give a session to a user or an AI, or to nobody; the term rises with each change."""
    return await context.session_actions.hold(call.caller, call.path["session_id"], call.body)


@RESOURCE.endpoint(
    "GET /sessions/{session_id}/connections",
    "connections:read",
    Connections,
    query=NodePageQuery,
    answer_example=CONNECTIONS_EXAMPLE,
    errors=("not_found",),
)
async def _list_connections(context: WebContext, call: Call) -> dict[str, Any]:
    """List the connections that have joined a session."""
    return await context.admin_queries.session_connections(
        call.caller, call.path["session_id"], call.query.window, call.query.node
    )


@RESOURCE.endpoint(
    "GET /sessions/{session_id}/history",
    "messages:read",
    SessionHistory,
    query=MessagesQuery,
    errors=("not_found",),
)
async def _list_messages(context: WebContext, call: Call) -> dict[str, Any]:
    """List the kept messages of a session, in pages backward or forward.

    ``since`` is inclusive, ``until`` exclusive.
    """
    query = call.query
    since, until = time_range(query, context.clock)
    return await context.admin_queries.history(
        call.caller,
        call.path["session_id"],
        query.before,
        query.after,
        query.limit,
        query.changes == "true",
        since,
        until,
    )


@RESOURCE.endpoint(
    "GET /sessions/{session_id}/members", "sessions:manage", SessionMembers, errors=("not_found",)
)
async def _get_members(context: WebContext, call: Call) -> dict[str, Any]:
    """Get the member list: users who may join without a session claim in their token."""
    return await context.admin_actions.members(call.caller, call.path["session_id"])


@RESOURCE.endpoint(
    "PUT /sessions/{session_id}/members",
    "sessions:manage",
    ReplacedMembers,
    action="members",
    request=MembersRequest,
    request_example={"user_ids": ["user_67890", "user_13579"]},
    errors=("not_found",),
)
async def _replace_members(context: WebContext, call: Call) -> dict[str, Any]:
    """Replace the member list; removed users leave the session immediately."""
    return await context.admin_actions.replace_members(
        call.caller, call.path["session_id"], call.body
    )
