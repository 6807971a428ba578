"""``NodeActions``: handlers of the requests that reach all nodes of a cluster.

Each acts on this node's connections only. Requests with ``organization_id`` act on connections of
that organization only; None: on all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec import Struct

from wsserver.cluster.control import Control, Request
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.manager import WebSocketManager


class Closed(Struct, frozen=True):
    """A connection that was closed."""

    connection_id: str
    user_id: str


class CloseConnections(Request[list[Closed]], frozen=True):
    """Close a user's connections, or one connection, with 4502."""

    reason: str
    user_id: str | None = None
    connection_id: str | None = None
    organization_id: str | None = None


class Pong(Struct, frozen=True):
    """Result of the ping of a connection; ``rtt_ms`` is None without an answer in time."""

    connection_id: str
    rtt_ms: float | None


class PingUser(Request[list[Pong]], frozen=True):
    """Ping all connections of a user."""

    user_id: str
    timeout_s: float
    organization_id: str | None = None


class TokenUsers(Request[list[str | None]], frozen=True):
    """The organizations of the connections that use the token with a ``jti``."""

    jti: str


class NodeActions:
    """Acts on this node's connections, on request of any node."""

    def __init__(self, manager: WebSocketManager, tenancy: Tenancy) -> None:
        self._manager = manager
        self._hub = manager.hub
        self._tenancy = tenancy

    def register(self, control: Control) -> None:
        """Register all handlers."""
        control.add_handler(CloseConnections, self.close)
        control.add_handler(PingUser, self.ping)
        control.add_handler(TokenUsers, self.token_users)

    def close(self, request: CloseConnections) -> list[Closed]:
        """Close connections; returns those closed, oldest first."""
        found: Iterable[ConnectionInfo] = ()
        if request.user_id is not None:
            found = self._hub.of_user(request.user_id)
        elif request.connection_id in self._hub.connections:
            found = [self._hub.connections[request.connection_id]]
        concerned = [
            connection
            for connection in self._tenancy.scope(request.organization_id).filter(found)
            if request.connection_id in (None, connection.connection_id)
        ]
        for connection in concerned:
            self._manager.close(connection, CloseCode.DISCONNECTED, request.reason)
        return [Closed(each.connection_id, each.user_id) for each in concerned]

    async def ping(self, request: PingUser) -> list[Pong]:
        """Ping connections, and wait for the pongs."""
        scope = self._tenancy.scope(request.organization_id)
        connections = scope.filter(self._hub.of_user(request.user_id))
        trips = await asyncio.gather(
            *(self._manager.heartbeat.measure(each, request.timeout_s) for each in connections)
        )
        return [
            Pong(connection.connection_id, rtt_ms)
            for connection, rtt_ms in zip(connections, trips, strict=True)
        ]

    def token_users(self, request: TokenUsers) -> list[str | None]:
        """The organizations of the connections that use a token."""
        using = [each.claims for each in self._hub if each.claims.jti == request.jti]
        return [claims.organization_id for claims in using]
