"""Admin queries: statistics, connections, users, sessions, history."""

from __future__ import annotations

import asyncio
from typing import Any

from wsserver.clock import rfc3339
from wsserver.errors import NotFound
from wsserver.identity.permissions import Permissions
from wsserver.paging import PageBuilder, Window, encode_cursor, items_after, page_of
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import Scope, Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.streams import Streams

SLICE = 20
"""Sessions read before other tasks get their turn."""


class AdminQueries:
    """Admin queries, each with a check of permission, limited to the actor's scope."""

    def __init__(
        self,
        manager: WebSocketManager,
        permissions: Permissions,
        tenancy: Tenancy,
        streams: Streams,
    ) -> None:
        self._manager = manager
        self._tenancy = tenancy
        self._streams = streams
        self._hub: Hub = manager.hub
        self._permissions = permissions

    def stats(self, actor: Actor) -> dict[str, Any]:
        """The statistics; for a confined role with the gauges of its organization."""
        scope = self._scope(actor, "stats:read")
        return self._manager.stats(scope.organization_id)

    async def connections(
        self,
        actor: Actor,
        window: Window,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        organization_id: str | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """The connections that match all filters, oldest first.

        Raises ``Forbidden`` for a filter outside of the scope,
        ``StorageUnavailable``.
        """
        scope = self._scope(actor, "connections:read")
        if user_id is not None:
            await scope.require_users([user_id])
        if session_id is not None:
            await scope.require_session(session_id)
        if organization_id is not None:
            scope.require_organization(organization_id)
        found: list[ConnectionInfo]
        if user_id is not None:
            found = self._hub.of_user(user_id)
        elif session_id is not None:
            found = self._hub.of_session(session_id)
        elif organization_id is not None:
            found = self._hub.of_organization(organization_id)
        else:
            found = list(self._hub)
        selected = [
            connection
            for connection in scope.filter(found)
            if (session_id is None or session_id in (connection.sessions or ()))
            and organization_id in (None, connection.claims.organization_id)
            and endpoint in (None, connection.endpoint)
        ]
        return _connection_page(selected, window)

    def connection(self, actor: Actor, connection_id: str) -> dict[str, Any]:
        """One connection; raises ``NotFound``, also for one outside of the scope."""
        return self._scope(actor, "connections:read").find_connection(connection_id).view()

    async def user_connections(self, actor: Actor, user_id: str, window: Window) -> dict[str, Any]:
        """A user's connections; empty when offline. Raises ``NotFound`` outside of the scope."""
        scope = self._scope(actor, "connections:read")
        await scope.find_user(user_id)
        return _connection_page(scope.filter(self._hub.of_user(user_id)), window)

    def online_users(self, actor: Actor, window: Window) -> dict[str, Any]:
        """The connected users, by id."""
        scope = self._scope(actor, "connections:read")
        ids = self._hub.user_connections
        users = sorted(u for u in ids if any(map(scope.sees, self._hub.of_user(u))))
        page = page_of(users, str, window, lambda user_id: self._user(user_id, scope))
        return {"users": page.items, "total": page.total, "next_cursor": page.next_cursor}

    async def sessions(self, actor: Actor, window: Window) -> dict[str, Any]:
        """The sessions of the scope with joined connections, by id."""
        scope = self._scope(actor, "connections:read")
        ids = await scope.sessions(sorted(self._hub.session_connections))
        page = PageBuilder[dict[str, Any]](window.limit)
        next_cursor = None
        for number, id_ in enumerate(items_after(ids, str, window), 1):
            if not page.add(await self._manager.sessions.view(id_, scope)):
                next_cursor = encode_cursor(page.items[-1]["session_id"])
                break
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return {"sessions": page.items, "total": len(ids), "next_cursor": next_cursor}

    async def session(self, actor: Actor, session_id: str) -> dict[str, Any]:
        """One session; raises ``NotFound`` for one never used or outside of the scope."""
        scope = self._scope(actor, "connections:read")
        await scope.find_session(session_id)
        if not await self._manager.sessions.is_known(session_id):
            raise NotFound("session", session_id)
        return await self._manager.sessions.view(session_id, scope)

    async def session_connections(
        self, actor: Actor, session_id: str, window: Window
    ) -> dict[str, Any]:
        """The connections that have joined a session, may be empty.

        Raises ``NotFound`` for a session outside of the scope.
        """
        scope = self._scope(actor, "connections:read")
        await scope.find_session(session_id)
        return _connection_page(scope.filter(self._hub.of_session(session_id)), window)

    async def history(
        self, actor: Actor, session_id: str, before: int | None, after: int | None, limit: int
    ) -> dict[str, Any]:
        """A page of a session's stored messages, in ascending order.

        Raises ``NotFound`` for a session of another organization, ``StorageUnavailable``.
        """
        scope = self._scope(actor, "messages:read")
        await scope.find_session(session_id)
        # Messages may be for another organization alone.
        claims = actor.claims if scope.organization_id is not None else None
        page_ = await self._streams.history(
            SESSION + session_id, claims, before=before, after=after, limit=limit
        )
        return {"session_id": session_id, **page_.answer()}

    def _scope(self, actor: Actor, permission: str) -> Scope:
        self._permissions.require(actor.claims, permission)
        return self._tenancy.scope(self._permissions.confined_to(actor.claims))

    def _user(self, user_id: str, scope: Scope) -> dict[str, Any]:
        connections = scope.filter(self._hub.of_user(user_id))
        return {
            "user_id": user_id,
            "connections": len(connections),
            "online_since": rfc3339(min(c.connected_at for c in connections)),
            "metadata": connections[0].metadata,
        }


def _connection_page(connections: list[ConnectionInfo], window: Window) -> dict[str, Any]:
    ordered = sorted(connections, key=_id)
    page = page_of(ordered, _id, window, ConnectionInfo.view)
    return {"connections": page.items, "total": page.total, "next_cursor": page.next_cursor}


def _id(connection: ConnectionInfo) -> str:
    return connection.connection_id
