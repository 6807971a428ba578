"""What operators may see of the live state: statistics, connections, users, sessions."""

from __future__ import annotations

import asyncio
from typing import Any

from wsserver.clock import rfc3339
from wsserver.errors import Forbidden, NotFound
from wsserver.identity.permissions import Permissions
from wsserver.realtime.access import Scope
from wsserver.realtime.actor import Actor
from wsserver.realtime.connection import ConnectionInfo
from wsserver.realtime.hub import Hub
from wsserver.realtime.keeping import SESSION
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.owners import SessionOwners
from wsserver.realtime.paging import Window, page, shown
from wsserver.realtime.streams import Streams
from wsserver.storage.paging import PAGE_BYTES, encode_cursor, json_bytes

SLICE = 20
"""Sessions looked at in one go."""


class Inspection:
    """Reads of the REST API; each checks its permission and shows only the actor's scope."""

    def __init__(
        self,
        manager: WebSocketManager,
        permissions: Permissions,
        owners: SessionOwners,
        streams: Streams,
    ) -> None:
        self._manager = manager
        self._owners = owners
        self._streams = streams
        self._hub: Hub = manager.hub
        self._permissions = permissions

    def stats(self, actor: Actor) -> dict[str, Any]:
        """The statistics; the gauges of one organization for those confined to it."""
        scope = self._scope(actor, "stats:read")
        return self._manager.stats(scope.organization_id)

    def connections(
        self,
        actor: Actor,
        window: Window,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        organization_id: str | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """The connections that pass every filter given, oldest first.

        Raises ``Forbidden`` for a filter that names something outside of the scope.
        """
        scope = self._scope(actor, "connections:read")
        for kind, name, is_inside in (
            ("user", user_id, scope.has_user),
            ("session", session_id, scope.has_session),
            ("organization", organization_id, scope.has_organization),
        ):
            if name is not None and not is_inside(name):
                raise Forbidden(f"{kind} {name} is outside of your organization")
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
        scope = self._scope(actor, "connections:read")
        connection = self._hub.connections.get(connection_id)
        if connection is None or not scope.sees(connection):
            raise NotFound("connection", connection_id)
        return connection.view()

    def user_connections(self, actor: Actor, user_id: str, window: Window) -> dict[str, Any]:
        """A user's connections; empty when offline."""
        scope = self._scope(actor, "connections:read")
        if not scope.has_user(user_id):
            raise NotFound("user", user_id)
        return _connection_page(scope.filter(self._hub.of_user(user_id)), window)

    def online_users(self, actor: Actor, window: Window) -> dict[str, Any]:
        """Who is connected, by user id."""
        scope = self._scope(actor, "connections:read")
        ids = self._hub.user_connections
        users = sorted(u for u in ids if any(map(scope.sees, self._hub.of_user(u))))
        part = shown(users, str, window, lambda user_id: self._user(user_id, scope))
        return {
            "users": part.items,
            "total": part.total,
            "next_cursor": part.next_cursor,
        }

    async def sessions(self, actor: Actor, window: Window) -> dict[str, Any]:
        """The sessions that somebody of the scope, or of no organization, has joined, by id."""
        scope = self._scope(actor, "connections:read")
        ids = sorted(filter(scope.has_session, self._hub.session_connections))
        part = page(ids, str, window)
        views: list[dict[str, Any]] = []
        next_cursor, room = part.next_cursor, PAGE_BYTES
        for id_ in part.items:
            view = await self._manager.sessions.view(id_, scope)
            size = json_bytes(view)
            if views and size > room:
                next_cursor = encode_cursor(views[-1]["session_id"])
                break
            room -= size
            views.append(view)
            if len(views) % SLICE == 0:  # others have their turn in between
                await asyncio.sleep(0)
        return {"sessions": views, "total": part.total, "next_cursor": next_cursor}

    async def session(self, actor: Actor, session_id: str) -> dict[str, Any]:
        """One session; raises ``NotFound`` for one that was never used, or is of others."""
        scope = self._scope(actor, "connections:read")
        is_foreign = await self._owners.is_foreign(scope, session_id)
        if is_foreign or not await self._manager.sessions.is_known(session_id):
            raise NotFound("session", session_id)
        return await self._manager.sessions.view(session_id, scope)

    def session_connections(self, actor: Actor, session_id: str, window: Window) -> dict[str, Any]:
        """The connections that have joined a session; empty when nobody has."""
        scope = self._scope(actor, "connections:read")
        if not scope.has_session(session_id):
            raise NotFound("session", session_id)
        return _connection_page(scope.filter(self._hub.of_session(session_id)), window)

    async def history(
        self, actor: Actor, session_id: str, before: int | None, after: int | None, limit: int
    ) -> dict[str, Any]:
        """A page of a session's messages, ascending; empty where nothing is kept.

        Raises ``NotFound`` for a session of another organization, ``StorageUnavailable``.
        """
        scope = self._scope(actor, "messages:read")
        if await self._owners.is_foreign(scope, session_id):
            raise NotFound("session", session_id)
        # Others may have written for their own organization alone.
        claims = actor.claims if scope.organization_id is not None else None
        page_ = await self._streams.history(
            SESSION + session_id, claims, before=before, after=after, limit=limit
        )
        return {"session_id": session_id, **page_.answer()}

    def _scope(self, actor: Actor, permission: str) -> Scope:
        self._permissions.require(actor.claims, permission)
        return Scope(self._hub, self._permissions.confined_to(actor.claims))

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
    part = shown(ordered, _id, window, ConnectionInfo.view)
    return {
        "connections": part.items,
        "total": part.total,
        "next_cursor": part.next_cursor,
    }


def _id(connection: ConnectionInfo) -> str:
    return connection.connection_id
