"""Admin queries: statistics, connections, users, sessions, history."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import Any

from wsserver.clock import rfc3339, rfc3339_or_none
from wsserver.cluster.nodes import Nodes, unreachable_in
from wsserver.errors import Forbidden, NodeUnreachable, NotFound
from wsserver.identity.permissions import Permissions
from wsserver.paging import PageBuilder, Window, decode_cursor, encode_cursor
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability.cluster_statistics import ClusterStatistics
from wsserver.realtime.operations.drain_forecast import ForecastDrain
from wsserver.realtime.operations.merging import (
    Part,
    distinct_total,
    merge_parts,
    merge_session,
    merge_user,
    only,
    total_of,
)
from wsserver.realtime.operations.node_queries import (
    SLICE,
    DescribeNode,
    FindConnection,
    FindSession,
    ListConnections,
    ListUsers,
    ReadSessions,
    SessionIds,
)
from wsserver.realtime.operations.word_filter import WordFilter
from wsserver.realtime.sessions.conversation_list import ConversationList, ConversationQuery
from wsserver.realtime.sessions.conversations import Conversations, conversation_view, holder_view
from wsserver.realtime.sessions.visits import SessionVisits
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.messages.conversations import Conversation, SessionFilter
from wsserver.storage.messages.session_past import PastSessions


class AdminQueries:
    """Admin queries, each with a check of permission, limited to the actor's scope.

    They read all nodes, or the one that is named; answers name those that did not answer in time
    as ``unreachable``.
    """

    def __init__(
        self,
        nodes: Nodes,
        statistics: ClusterStatistics,
        manager: WebSocketManager,
        permissions: Permissions,
        tenancy: Tenancy,
        streams: Streams,
        conversations: Conversations,
        conversation_list: ConversationList,
        past_sessions: PastSessions,
        visits: SessionVisits,
    ) -> None:
        self._nodes = nodes
        self._statistics = statistics
        self._manager = manager
        self._tenancy = tenancy
        self._streams = streams
        self._conversations = conversations
        self._conversation_list = conversation_list
        self._past_sessions = past_sessions
        self._visits = visits
        self._hub: Hub = manager.hub
        self._permissions = permissions

    async def stats(self, actor: Actor, node: str | None = None) -> dict[str, Any]:
        """The statistics of all nodes, or of one.

        For a confined role with the gauges of its organization. Raises ``NotFound`` for an unknown
        node.
        """
        scope = self._scope(actor, "stats:read")
        return await self._statistics.read(scope.organization_id, node)

    async def connections(
        self,
        actor: Actor,
        window: Window,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        organization_id: str | None = None,
        endpoint: str | None = None,
        node: str | None = None,
        search: str | None = None,
    ) -> dict[str, Any]:
        """The connections that match all filters and have all words of ``search``, by id.

        Raises ``Forbidden`` for a filter outside of the scope, ``NotFound`` for an unknown node,
        ``StorageUnavailable``.
        """
        scope = self._scope(actor, "connections:read")
        if user_id is not None:
            await scope.require_users([user_id])
        if session_id is not None:
            await scope.require_session(session_id)
        if organization_id is not None:
            scope.require_organization(organization_id)
        return await self._connections(
            scope,
            window,
            node,
            user_id=user_id,
            session_id=session_id,
            of_organization=organization_id,
            endpoint=endpoint,
            search=search,
        )

    async def connection(self, actor: Actor, connection_id: str) -> dict[str, Any]:
        """One connection of any node; raises ``NotFound``, also for one outside of the scope."""
        scope = self._scope(actor, "connections:read")
        request = FindConnection(scope.organization_id, connection_id)
        node = self._nodes.own if connection_id in self._hub.connections else None
        answers = await self._nodes.ask(request, node)
        for found in answers.by_node.values():
            if found is not None:
                return found
        silent = f"no answer from {', '.join(answers.unreachable)}" if answers.unreachable else ""
        raise NotFound("connection", connection_id, silent)

    async def user_connections(
        self, actor: Actor, user_id: str, window: Window, node: str | None = None
    ) -> dict[str, Any]:
        """A user's connections; empty when offline. Raises ``NotFound`` outside of the scope."""
        scope = self._scope(actor, "connections:read")
        await scope.find_user(user_id)
        return await self._connections(scope, window, node, user_id=user_id)

    async def online_users(
        self, actor: Actor, window: Window, node: str | None = None, search: str | None = None
    ) -> dict[str, Any]:
        """The connected users, by id; each once, whatever nodes they are connected to.

        ``search``: only those with all these words in their ids and names.
        """
        scope = self._scope(actor, "connections:read")
        request = ListUsers(scope.organization_id, window.limit, after_of(window), search)
        answers = await self._nodes.ask(request, node)
        parts = answers.by_node.values()
        items, has_more = merge_parts(parts, "user_id", window.limit, merge_user)
        return {
            "users": items,
            "total": distinct_total(parts),
            "next_cursor": encode_cursor(items[-1]["user_id"]) if has_more else None,
            **unreachable_in(answers),
        }

    async def sessions(
        self,
        actor: Actor,
        window: Window,
        node: str | None = None,
        wanted: SessionFilter | None = None,
        search: str | None = None,
    ) -> dict[str, Any]:
        """The sessions of the scope with joined connections, by id; each once.

        ``wanted``: those with this state and holder, also without connections unless they are asked
        for of one node. ``search``: only those with all these words in their id and title.
        """
        scope = self._scope(actor, "connections:read")
        after = after_of(window)
        found = await self._nodes.ask(SessionIds(), node)
        known: set[str] = set().union(*found.by_node.values())
        if wanted is not None:
            known = await self._matching(wanted, known, is_active=node is not None)
        ids = await scope.sessions(sorted(known))
        if words := WordFilter(search):
            titled = await self._conversations.find_all(ids)
            titles = {each: conversation.title for each, conversation in titled.items()}
            ids = [each for each in ids if words.admits(each, titles.get(each))]
        start = 0 if after is None else bisect_right(ids, after)
        page_ids = ids[start : start + window.limit + 1]
        read = await self._nodes.ask(ReadSessions(scope.organization_id, page_ids), node)
        parts = list(read.by_node.values())
        if wanted is not None and node is None:
            idle = [{"session_id": each, "users": [], "connections": 0} for each in page_ids]
            parts.append(Part(idle, has_more=False))
        items, has_more = merge_parts(parts, "session_id", len(page_ids), merge_session)
        has_more = has_more or len(page_ids) > window.limit  # some may have ended meanwhile
        page = PageBuilder[dict[str, Any]](window.limit)
        conversations = await self._conversations.find_all([each["session_id"] for each in items])
        for number, item in enumerate(items, 1):
            session_id = item["session_id"]
            own = conversations.get(session_id) or Conversation(session_id)
            state = {"title": own.title, "state": own.state, "holder": holder_view(own.holder)}
            if not page.add({**await self._session(item, scope), **state}):
                has_more = True
                break
            if number % SLICE == 0:
                await asyncio.sleep(0)
        last = page.items[-1]["session_id"] if page.items else "".join(page_ids[-1:])
        silent = {*found.unreachable, *read.unreachable}
        return {
            "sessions": page.items,
            "total": len(ids),
            "next_cursor": encode_cursor(last) if has_more else None,
            **({"unreachable": sorted(silent)} if silent else {}),
        }

    async def _matching(
        self, wanted: SessionFilter, active: set[str], *, is_active: bool
    ) -> set[str]:
        """Ids of the sessions that match, only of the active ones or of all."""
        matching = set(await self._conversations.matching(wanted))
        if wanted.admits(Conversation("")):  # so are those without a message yet
            stored = await self._conversations.find_all(sorted(active - matching))
            matching |= active - stored.keys()
        return matching & active if is_active else matching

    async def session(
        self, actor: Actor, session_id: str, permission: str = "connections:read"
    ) -> dict[str, Any]:
        """One session; raises ``NotFound`` for one never used or outside of the scope.

        Its last message is left out without the permission to read messages.
        """
        scope = self._scope(actor, permission)
        await scope.find_session(session_id)
        answers = await self._nodes.ask(FindSession(scope.organization_id, session_id))
        found = [each for each in answers.by_node.values() if each is not None]
        conversation = await self._conversations.find(session_id)
        if conversation is None:
            if not found and not await self._manager.sessions.is_known(session_id):
                raise NotFound("session", session_id)
            conversation = Conversation(session_id)
        item = merge_session(found or [{"session_id": session_id, "users": [], "connections": 0}])
        last = None
        if self._permissions.allows(actor.claims, "messages:read"):
            claims = actor.claims if scope.organization_id is not None else None
            last = await self._streams.last_message(SESSION + session_id, claims)
        return {
            **await self._session(item, scope),
            **conversation_view(conversation),
            "positions": await self._manager.sessions.positions_of_members(session_id, scope),
            "active": [each["user_id"] for each in item["users"]],
            "last_message": last,
            **unreachable_in(answers),
        }

    async def conversations(
        self, actor: Actor, user_id: str, window: Window, state: str | None
    ) -> dict[str, Any]:
        """The conversations of a user, newest activity first, as far as they are in the scope.

        Raises ``NotFound`` for a user outside of the scope.
        """
        scope = self._scope(actor, "messages:read")
        await scope.find_user(user_id)
        wanted = ConversationQuery(user_id, window.limit, window.cursor, state)
        # Messages may be for another organization alone.
        reader = actor.claims if scope.organization_id is not None else None
        found = await self._conversation_list.of_user(wanted, scope, reader)
        return {
            "user_id": user_id,
            "conversations": found.conversations,
            "unread_total": found.unread_total,
            "total": found.total,
            "next_cursor": found.next_cursor,
        }

    async def unread(
        self, actor: Actor, user_id: str, window: Window, messages: int
    ) -> dict[str, Any]:
        """Why messages are unread to a user: each of them, and the position that holds it back.

        Raises ``NotFound`` for a user outside of the scope.
        """
        scope = self._scope(actor, "messages:read")
        await scope.find_user(user_id)
        page = await self._conversation_list.explain_unread(user_id, scope, window, messages)
        return {
            "user_id": user_id,
            "sessions": page.sessions,
            "unread_total": page.unread_total,
            "total": page.total,
            "next_cursor": page.next_cursor,
        }

    async def session_at(self, actor: Actor, session_id: str, at: float) -> dict[str, Any]:
        """A session as it was at a time.

        Raises ``NotFound`` for one that did not exist then, or is outside of the scope.
        """
        scope = self._scope(actor, "connections:read")
        await scope.find_session(session_id)
        members = self._manager.sessions.members_of(session_id)
        await self._visits.settle()
        past = await self._past_sessions.read(session_id, at, members)
        if past is None:
            raise NotFound("session", session_id, f"it did not exist at {rfc3339(at)}")
        named = {*past.members, *(each.user_id for each in past.positions)}
        named.update(visit.user_id for visit in past.present)
        await scope.learn(named)
        shown = scope.is_shown_in_session
        return {
            "session_id": session_id,
            "at": rfc3339(at),
            **past.fields,
            "offset": past.offset,
            "members": [user_id for user_id in past.members if shown(user_id)],
            "positions": [each._asdict() for each in past.positions if shown(each.user_id)],
            "present": [
                {
                    "user_id": each.user_id,
                    "since": rfc3339(each.since),
                    "until": rfc3339_or_none(each.until),
                }
                for each in past.present
                if shown(each.user_id)
            ],
            "changes": [
                {"at": rfc3339(each.at), "by": each.by, "field": each.field, "value": each.value}
                for each in past.changes
                if each.field != "members" or scope.organization_id is None
            ],
        }

    async def session_connections(
        self, actor: Actor, session_id: str, window: Window, node: str | None = None
    ) -> dict[str, Any]:
        """The connections that have joined a session, may be empty.

        Raises ``NotFound`` for a session outside of the scope.
        """
        scope = self._scope(actor, "connections:read")
        await scope.find_session(session_id)
        return await self._connections(scope, window, node, session_id=session_id)

    async def count_connections(self, user_id: str) -> int:
        """Number of a user's connections on all nodes; for the user, so without a permission."""
        return await self._nodes.connections_of(user_id)

    async def nodes(self, actor: Actor) -> dict[str, Any]:
        """The nodes, sorted by name; for a confined role with the connections of its organization.

        A node that answers is shown as it is now, others as the directory has them.
        """
        scope = self._scope(actor, "connections:read")
        records = await self._nodes.records()
        answers = await self._nodes.ask(DescribeNode(scope.organization_id))
        shown = []
        for record in records:
            now = answers.by_node.get(record.node)
            is_hidden = now is None and scope.organization_id is not None
            shown.append(
                {
                    "node": record.node,
                    "since": rfc3339(record.since),
                    "connections": 0 if is_hidden else (now or record).connections,
                    "version": record.version,
                    "state": (now or record).state,
                }
            )
        return {"nodes": shown, **unreachable_in(answers)}

    async def drain_forecast(self, actor: Actor, node: str, window: Window) -> dict[str, Any]:
        """What a drain of a node would do now, with a page of its connections by id.

        Raises ``NotFound``, ``NodeUnreachable``, and ``Forbidden`` for a role confined to an
        organization: nodes serve all organizations.
        """
        if self._scope(actor, "connections:disconnect").organization_id is not None:
            raise Forbidden(f"node {node} serves other organizations, too")
        answers = await self._nodes.ask(ForecastDrain(window.limit, after_of(window)), node)
        for found in answers.by_node.values():
            page = found.connections
            return {
                "node": node,
                **found.summary,
                "connections": page,
                "next_cursor": encode_cursor(page[-1]["connection_id"]) if found.has_more else None,
            }
        raise NodeUnreachable(f"node {node} does not answer")

    async def history(
        self,
        actor: Actor,
        session_id: str,
        before: int | None,
        after: int | None,
        limit: int,
        with_changes: bool = False,
        since: float | None = None,
        until: float | None = None,
    ) -> dict[str, Any]:
        """A page of a session's stored messages, in ascending order.

        ``with_changes``: also change records; ``since`` (inclusive), ``until``: only messages of
        that time, in seconds since the epoch. Raises ``NotFound`` for a session of another
        organization, ``StorageUnavailable``.
        """
        scope = self._scope(actor, "messages:read")
        await scope.find_session(session_id)
        # Messages may be for another organization alone.
        claims = actor.claims if scope.organization_id is not None else None
        page_ = await self._streams.history(
            SESSION + session_id,
            claims,
            before=before,
            after=after,
            since=since,
            until=until,
            limit=limit,
            with_changes=with_changes,
        )
        return {"session_id": session_id, **page_.answer()}

    def _scope(self, actor: Actor, permission: str) -> Scope:
        self._permissions.require(actor.claims, permission)
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))

    async def _connections(
        self, scope: Scope, window: Window, node: str | None, **filters: str | None
    ) -> dict[str, Any]:
        after = after_of(window)
        request = ListConnections(scope.organization_id, window.limit, after, **filters)
        answers = await self._nodes.ask(request, node)
        parts = answers.by_node.values()
        items, has_more = merge_parts(parts, "connection_id", window.limit, only)
        return {
            "connections": items,
            "total": total_of(parts),
            "next_cursor": encode_cursor(items[-1]["connection_id"]) if has_more else None,
            **unreachable_in(answers),
        }

    async def _session(self, item: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """A session as the REST API shows it: with its members and the position of its stream."""
        stored = await self._manager.sessions.stored(item["session_id"], scope)
        return {
            "session_id": item["session_id"],
            "users": item["users"],
            "members": stored["members"],
            "connections": item["connections"],
            "epoch": stored["epoch"],
            "offset": stored["offset"],
        }


def after_of(window: Window) -> str | None:
    """The key after which a page begins; raises ``BadRequest`` for an invalid cursor."""
    return None if window.cursor is None else decode_cursor(window.cursor, str)
