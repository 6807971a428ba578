"""``NodeQueries``: handlers of the reading requests that reach all nodes of a cluster.

Each reads this node's connections only. Requests with ``organization_id`` read what belongs to that
organization only; None: everything. An answer is bounded like a page.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from wsserver.clock import rfc3339
from wsserver.cluster.control import Control, Request
from wsserver.cluster.directory import NodeState
from wsserver.paging import PageBuilder, take
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import users_of
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.operations.merging import Part
from wsserver.realtime.operations.word_filter import WordFilter

T = TypeVar("T")

SEARCHED = 500
"""Items searched before other tasks get their turn."""
SLICE = 20
"""Sessions read before other tasks get their turn."""


class ListConnections(Request[Part], frozen=True):
    """The connections that match all filters, sorted by id; at most ``limit``, after an id."""

    organization_id: str | None
    limit: int
    after: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    of_organization: str | None = None
    endpoint: str | None = None
    search: str | None = None
    """Words, see ``WordFilter``."""


class ListUsers(Request[Part], frozen=True):
    """The connected users, sorted by id; at most ``limit``, after an id."""

    organization_id: str | None
    limit: int
    after: str | None = None
    search: str | None = None
    """Words, see ``WordFilter``."""


class SessionIds(Request[list[str]], frozen=True):
    """The sessions with joined connections, of all organizations."""


class ReadSessions(Request[Part], frozen=True):
    """Users and number of connections of sessions; ids that are not on the node are left out."""

    organization_id: str | None
    session_ids: list[str]
    """Sorted."""


class FindConnection(Request[dict[str, Any] | None], frozen=True):
    """One connection; None: not on this node, or outside of the organization."""

    organization_id: str | None
    connection_id: str


class FindSession(Request[dict[str, Any] | None], frozen=True):
    """Users and number of connections of a session; None: never used on this node."""

    organization_id: str | None
    session_id: str


class NodeView(Struct, frozen=True):
    """A node about itself."""

    connections: int
    state: NodeState


class DescribeNode(Request[NodeView], frozen=True):
    """Number of connections and state of a node."""

    organization_id: str | None


class DrainNode(Request[bool], frozen=True):
    """Drain the node as SIGTERM does; the answer is whether it will, or does already."""

    is_void_late = True


class NodeQueries:
    """Reads this node's connections, on request of any node."""

    def __init__(self, manager: WebSocketManager, tenancy: Tenancy, node: str) -> None:
        self._manager = manager
        self._hub = manager.hub
        self._tenancy = tenancy
        self._node = node

    def register(self, control: Control) -> None:
        """Register all handlers."""
        control.add_handler(ListConnections, self.connections)
        control.add_handler(ListUsers, self.users)
        control.add_handler(SessionIds, self.session_ids)
        control.add_handler(ReadSessions, self.sessions)
        control.add_handler(FindConnection, self.connection)
        control.add_handler(FindSession, self.session)
        control.add_handler(DescribeNode, self.describe)

    async def connections(self, request: ListConnections) -> Part:
        """The connections that match all filters."""
        found: list[ConnectionInfo]
        if request.user_id is not None:
            found = self._hub.of_user(request.user_id)
        elif request.session_id is not None:
            found = self._hub.of_session(request.session_id)
        elif request.of_organization is not None:
            found = self._hub.of_organization(request.of_organization)
        else:
            found = list(self._hub)
        selected = sorted(
            (
                each
                for each in self._tenancy.scope(request.organization_id).filter(found)
                if (request.session_id is None or request.session_id in (each.sessions or ()))
                and request.of_organization in (None, each.claims.organization_id)
                and request.endpoint in (None, each.endpoint)
            ),
            key=_id,
        )
        if request.search:
            words = WordFilter(request.search)
            selected = [each async for each in _in_turns(selected) if _has(each, words)]
        rest = _following(selected, _id, request.after, request.limit)
        views, has_more = take(map(self._view, rest), request.limit)
        return Part(views, has_more, len(selected))

    async def users(self, request: ListUsers) -> Part:
        """The connected users."""
        scope = self._tenancy.scope(request.organization_id)
        users = self._hub.user_connections
        ids = sorted(u for u in users if any(map(scope.sees, self._hub.of_user(u))))
        if request.search:
            words = WordFilter(request.search)
            found = [each async for each in _in_turns(ids) if self._is_found(each, words)]
            # Some have left meanwhile.
            ids = [each for each in found if any(map(scope.sees, self._hub.of_user(each)))]
        rest = _following(ids, str, request.after, request.limit)
        views, has_more = take((self._user(id_, scope) for id_ in rest), request.limit)
        return Part(views, has_more, len(ids), ids)

    def session_ids(self, request: SessionIds) -> list[str]:
        """The sessions with joined connections."""
        return list(self._hub.session_connections)

    async def sessions(self, request: ReadSessions) -> Part:
        """Users and number of connections of sessions."""
        scope = self._tenancy.scope(request.organization_id)
        page = PageBuilder[dict[str, Any]](len(request.session_ids))
        for number, id_ in enumerate(request.session_ids, 1):
            if id_ in self._hub.session_connections and not page.add(self._session(id_, scope)):
                return Part(page.items, has_more=True)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return Part(page.items, has_more=False)

    def connection(self, request: FindConnection) -> dict[str, Any] | None:
        """One connection."""
        found = self._hub.connections.get(request.connection_id)
        is_shown = found is not None and self._tenancy.scope(request.organization_id).sees(found)
        return self._view(found) if found is not None and is_shown else None

    def session(self, request: FindSession) -> dict[str, Any] | None:
        """Users and connections of a session."""
        id_ = request.session_id
        if id_ not in self._hub.known_sessions:
            return None
        return self._session(id_, self._tenancy.scope(request.organization_id))

    def describe(self, request: DescribeNode) -> NodeView:
        """Connections and state of this node."""
        mine = request.organization_id
        count = len(self._hub) if mine is None else len(self._hub.of_organization(mine))
        return NodeView(count, "draining" if self._manager.is_draining else "up")

    def _is_found(self, user_id: str, words: WordFilter) -> bool:
        names = {each.claims.username for each in self._hub.of_user(user_id)}
        return words.admits(user_id, *names)

    def _view(self, connection: ConnectionInfo) -> dict[str, Any]:
        return {**connection.view(), "node": self._node}

    def _user(self, user_id: str, scope: Scope) -> dict[str, Any]:
        connections = scope.filter(self._hub.of_user(user_id))
        return {
            "user_id": user_id,
            "connections": len(connections),
            "online_since": rfc3339(min(c.connected_at for c in connections)),
            "metadata": connections[0].metadata,
        }

    def _session(self, session_id: str, scope: Scope) -> dict[str, Any]:
        connections = scope.of_session(session_id)
        return {
            "session_id": session_id,
            "users": users_of(connections),
            "connections": len(connections),
        }


def _following(
    items: Sequence[T], key: Callable[[T], str], after: str | None, limit: int
) -> Sequence[T]:
    """The items after a key, one more than the limit."""
    start = 0 if after is None else bisect_right(items, after, key=key)
    return items[start : start + limit + 1]


async def _in_turns(items: Sequence[T]) -> AsyncIterator[T]:
    """The items; other tasks get their turn meanwhile."""
    for number, item in enumerate(items, 1):
        yield item
        if number % SEARCHED == 0:
            await asyncio.sleep(0)


def _has(connection: ConnectionInfo, words: WordFilter) -> bool:
    """Whether a connection has all words: ids, name, sessions, address, program."""
    claims = connection.claims
    return words.admits(
        connection.connection_id,
        claims.sub,
        claims.username,
        claims.organization_id,
        connection.remote_ip,
        connection.user_agent,
        *(connection.sessions or ()),
    )


def _id(connection: ConnectionInfo) -> str:
    return connection.connection_id
